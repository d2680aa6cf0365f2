//! One process, hermetically: namespaces, seccomp, Landlock, cgroups.
