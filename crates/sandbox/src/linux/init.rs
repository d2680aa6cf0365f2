//! Process 1 of a sandbox: a program of a few instructions.
//!
//! The command itself must not be process 1: the kernel ignores signals to it whose action is the default, so that `abort` or
//! `kill` would not do what they do elsewhere. The process that prepared the sandbox cannot stay process 1 either: it shares the
//! caller's memory. It therefore executes this program, which waits for children until the command (process 2, as it is the
//! first child) ends, writes its wait status (4 bytes, native order) to descriptor 3, and exits, upon which the kernel kills
//! whatever else is left. As a file of its own it would have to be installed somewhere; so it is part of this library and is
//! written into the sandbox when that is made, executed, and removed before the command could see it.

/// Pid of the command inside the sandbox.
pub(crate) const COMMAND_PID: i32 = 2;

/// Descriptor that process 1 writes the wait status to.
pub(crate) const STATUS_FD: i32 = 3;

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .rodata.buildnet_sandbox_init, \"a\"",
    ".hidden buildnet_sandbox_init_start",
    ".globl buildnet_sandbox_init_start",
    "buildnet_sandbox_init_start:",
    "sub rsp, 16",
    "2:",
    "mov eax, 61",         // wait4
    "mov rdi, -1",         // any child
    "mov rsi, rsp",        // status
    "mov edx, 0x40000000", // __WALL
    "xor r10d, r10d",      // no rusage
    "syscall",
    "cmp eax, 2", // the command
    "je 3f",
    "test eax, eax", // some orphan
    "jns 2b",
    "cmp eax, -4", // EINTR
    "je 2b",
    "mov edi, 1", // nobody to wait for
    "jmp 4f",
    "3:",
    "mov eax, 1", // write
    "mov edi, 3",
    "mov rsi, rsp",
    "mov edx, 4",
    "syscall",
    "xor edi, edi",
    "4:",
    "mov eax, 231", // exit_group
    "syscall",
    "ud2",
    ".hidden buildnet_sandbox_init_end",
    ".globl buildnet_sandbox_init_end",
    "buildnet_sandbox_init_end:",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .rodata.buildnet_sandbox_init, \"a\"",
    ".p2align 2",
    ".hidden buildnet_sandbox_init_start",
    ".globl buildnet_sandbox_init_start",
    "buildnet_sandbox_init_start:",
    "sub sp, sp, #16",
    "2:",
    "mov x8, #260", // wait4
    "mov x0, #-1",
    "mov x1, sp",
    "mov w2, #0x40000000", // __WALL
    "mov x3, #0",
    "svc #0",
    "cmp w0, #2", // the command
    "b.eq 3f",
    "cmp w0, #0", // some orphan
    "b.ge 2b",
    "cmn w0, #4", // EINTR
    "b.eq 2b",
    "mov x0, #1", // nobody to wait for
    "b 4f",
    "3:",
    "mov x8, #64", // write
    "mov x0, #3",
    "mov x1, sp",
    "mov x2, #4",
    "svc #0",
    "mov x0, #0",
    "4:",
    "mov x8, #94", // exit_group
    "svc #0",
    "brk #1",
    ".hidden buildnet_sandbox_init_end",
    ".globl buildnet_sandbox_init_end",
    "buildnet_sandbox_init_end:",
    ".popsection",
);

unsafe extern "C" {
    static buildnet_sandbox_init_start: u8;
    static buildnet_sandbox_init_end: u8;
}

/// The program as an ELF executable: file header, one read-execute segment that covers the whole file, code.
pub(crate) fn program() -> Vec<u8> {
    const HEADERS: usize = 64 + 56;
    const BASE: u64 = 0x40_0000;
    #[cfg(target_arch = "x86_64")]
    const MACHINE: u16 = 62;
    #[cfg(target_arch = "aarch64")]
    const MACHINE: u16 = 183;

    // SAFETY: the two symbols delimit the bytes emitted above: one object in read-only memory.
    let code = unsafe {
        let start = &raw const buildnet_sandbox_init_start;
        let end = &raw const buildnet_sandbox_init_end;
        std::slice::from_raw_parts(start, end.addr() - start.addr())
    };
    let size = (HEADERS + code.len()) as u64;
    let mut elf = Vec::with_capacity(HEADERS + code.len());
    // ELF header (elf(5)): 64-bit, little endian, version 1, System V.
    elf.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf.extend_from_slice(&2_u16.to_le_bytes()); // executable
    elf.extend_from_slice(&MACHINE.to_le_bytes());
    elf.extend_from_slice(&1_u32.to_le_bytes());
    elf.extend_from_slice(&(BASE + HEADERS as u64).to_le_bytes()); // entry
    elf.extend_from_slice(&64_u64.to_le_bytes()); // program headers
    elf.extend_from_slice(&0_u64.to_le_bytes()); // no section headers
    elf.extend_from_slice(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    // Program header: load everything, readable and executable.
    elf.extend_from_slice(&1_u32.to_le_bytes());
    elf.extend_from_slice(&5_u32.to_le_bytes());
    for word in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(code);
    elf
}
