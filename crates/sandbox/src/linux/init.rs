//! Process 1 of a sandbox: a program of a few instructions.
//!
//! The command itself must not be process 1: the kernel ignores signals to it whose action is the default, so that `abort` or
//! `kill` would not do what they do elsewhere. The child that prepared the sandbox cannot stay process 1 either: it shares the
//! caller's memory, and a command it created would inherit the caller's peak memory as its own. It therefore executes this
//! program, which creates the command, reaps what ends, and when the command has ended reports that and exits, upon which the
//! kernel kills whatever else is left. As a file of its own it would have to be installed somewhere; so it is part of this
//! library, is written into the sandbox when that is made, executed, and removed before the command could see it.
//!
//! It runs with no more rights than the command. Its interface:
//!
//! - Arguments: the paths to try, an empty string, the arguments of the command. Environment: that of the command.
//! - Descriptors 0, 1, 2: the command's. Descriptor [`STATUS_FD`]: messages to the caller, closed to the command.
//! - A message is a negative `errno` (4 bytes) and 4 unused ones when the command could not be executed; otherwise 4 zero bytes,
//!   the wait status (4 bytes), and the command's `struct rusage`, all in native order. Only the first message counts.

/// Descriptor for messages to the caller.
pub(crate) const STATUS_FD: i32 = 3;

/// Length of the message about the command's end.
pub(crate) const MESSAGE_LEN: usize = 8 + size_of::<libc::rusage>();

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .rodata.buildnet_sandbox_init, \"a\"",
    ".hidden buildnet_sandbox_init_start",
    ".globl buildnet_sandbox_init_start",
    "buildnet_sandbox_init_start:",
    // r13: paths to try. r14: arguments of the command. r15: environment.
    "lea r13, [rsp + 8]",
    "mov rax, [rsp]",
    "lea r15, [rsp + 8*rax + 16]",
    "mov r14, r13",
    "2:",
    "mov rax, [r14]",
    "add r14, 8",
    "cmp byte ptr [rax], 0",
    "jne 2b",
    "sub rsp, 256", // the message
    // Shares memory and suspends this process until the child executes: the child changes registers and the message only.
    "mov eax, 56",     // clone
    "mov edi, 0x4111", // CLONE_VM | CLONE_VFORK | SIGCHLD
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "syscall",
    "mov ebx, eax",
    "test eax, eax",
    "jz 5f",
    "js 8f",
    "3:",
    "mov eax, 61",         // wait4
    "mov rdi, -1",         // any child
    "lea rsi, [rsp + 4]",  // status
    "mov edx, 0x40000000", // __WALL
    "lea r10, [rsp + 8]",  // rusage
    "syscall",
    "cmp eax, ebx", // the command
    "je 4f",
    "test eax, eax", // an orphan
    "jns 3b",
    "cmp eax, -4", // EINTR
    "je 3b",
    "jmp 9f", // nobody to wait for
    "4:",
    "mov dword ptr [rsp], 0",
    "mov edx, {message}",
    "jmp 7f",
    // The child.
    "5:",
    "mov eax, 112", // setsid
    "syscall",
    "mov eax, 72", // fcntl(status, F_SETFD, FD_CLOEXEC)
    "mov edi, {status}",
    "mov esi, 2",
    "mov edx, 1",
    "syscall",
    "mov ebx, -2",   // ENOENT
    "mov r12d, 200", // times to try again
    "6:",
    "mov rdi, [r13]",
    "add r13, 8",
    "cmp byte ptr [rdi], 0",
    "je 8f",
    "mov eax, 59", // execve
    "mov rsi, r14",
    "mov rdx, r15",
    "syscall",
    "cmp eax, -2", // ENOENT
    "je 6b",
    "cmp eax, -20", // ENOTDIR
    "je 6b",
    "cmp eax, -26", // ETXTBSY: somebody writes to it, or a child of the caller that will soon execute has inherited that
    "je 10f",
    "mov ebx, eax",
    "cmp eax, -13", // EACCES: go on, but remember that there was something, as execvp(3)
    "je 6b",
    "jmp 8f",
    "10:",
    "mov ebx, eax",
    "dec r12d",
    "js 8f",
    "mov qword ptr [rsp], 0",
    "mov qword ptr [rsp + 8], 5000000", // ns
    "mov eax, 35",                      // nanosleep
    "mov rdi, rsp",
    "xor esi, esi",
    "syscall",
    "sub r13, 8",
    "jmp 6b",
    "8:",
    "mov [rsp], ebx",
    "mov edx, 8",
    "7:",
    "mov eax, 1", // write
    "mov edi, {status}",
    "mov rsi, rsp",
    "syscall",
    "9:",
    "mov eax, 231", // exit_group
    "mov edi, 127",
    "syscall",
    "ud2",
    ".hidden buildnet_sandbox_init_end",
    ".globl buildnet_sandbox_init_end",
    "buildnet_sandbox_init_end:",
    ".popsection",
    status = const STATUS_FD,
    message = const MESSAGE_LEN,
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .rodata.buildnet_sandbox_init, \"a\"",
    ".p2align 2",
    ".hidden buildnet_sandbox_init_start",
    ".globl buildnet_sandbox_init_start",
    "buildnet_sandbox_init_start:",
    // x19: paths to try. x20: arguments of the command. x21: environment.
    "add x19, sp, #8",
    "ldr x9, [sp]",
    "add x21, sp, x9, lsl #3",
    "add x21, x21, #16",
    "mov x20, x19",
    "2:",
    "ldr x9, [x20], #8",
    "ldrb w9, [x9]",
    "cbnz w9, 2b",
    "sub sp, sp, #256", // the message
    // Shares memory and suspends this process until the child executes: the child changes registers and the message only.
    "mov x8, #220",    // clone
    "mov x0, #0x4111", // CLONE_VM | CLONE_VFORK | SIGCHLD
    "mov x1, #0",
    "mov x2, #0",
    "mov x3, #0",
    "mov x4, #0",
    "svc #0",
    "mov w22, w0",
    "cbz w0, 5f",
    "tbnz w0, #31, 8f",
    "3:",
    "mov x8, #260", // wait4
    "mov x0, #-1",  // any child
    "add x1, sp, #4",
    "mov w2, #0x40000000", // __WALL
    "add x3, sp, #8",
    "svc #0",
    "cmp w0, w22", // the command
    "b.eq 4f",
    "cmp w0, #0", // an orphan
    "b.ge 3b",
    "cmn w0, #4", // EINTR
    "b.eq 3b",
    "b 9f", // nobody to wait for
    "4:",
    "str wzr, [sp]",
    "mov x2, #{message}",
    "b 7f",
    // The child.
    "5:",
    "mov x8, #157", // setsid
    "svc #0",
    "mov x8, #25", // fcntl(status, F_SETFD, FD_CLOEXEC)
    "mov x0, #{status}",
    "mov x1, #2",
    "mov x2, #1",
    "svc #0",
    "mov w22, #-2",  // ENOENT
    "mov w23, #200", // times to try again
    "6:",
    "ldr x0, [x19], #8",
    "ldrb w9, [x0]",
    "cbz w9, 8f",
    "mov x8, #221", // execve
    "mov x1, x20",
    "mov x2, x21",
    "svc #0",
    "cmn w0, #2", // ENOENT
    "b.eq 6b",
    "cmn w0, #20", // ENOTDIR
    "b.eq 6b",
    "cmn w0, #26", // ETXTBSY: somebody writes to it, or a child of the caller that will soon execute has inherited that
    "b.eq 10f",
    "mov w22, w0",
    "cmn w0, #13", // EACCES: go on, but remember that there was something, as execvp(3)
    "b.eq 6b",
    "b 8f",
    "10:",
    "mov w22, w0",
    "subs w23, w23, #1",
    "b.lt 8f",
    "str xzr, [sp]",
    "mov x9, #0x4b40", // 5,000,000 ns
    "movk x9, #0x4c, lsl #16",
    "str x9, [sp, #8]",
    "mov x8, #101", // nanosleep
    "mov x0, sp",
    "mov x1, #0",
    "svc #0",
    "sub x19, x19, #8",
    "b 6b",
    "8:",
    "str w22, [sp]",
    "mov x2, #8",
    "7:",
    "mov x8, #64", // write
    "mov x0, #{status}",
    "mov x1, sp",
    "svc #0",
    "9:",
    "mov x8, #94", // exit_group
    "mov x0, #127",
    "svc #0",
    "brk #1",
    ".hidden buildnet_sandbox_init_end",
    ".globl buildnet_sandbox_init_end",
    "buildnet_sandbox_init_end:",
    ".popsection",
    status = const STATUS_FD,
    message = const MESSAGE_LEN,
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
