//! The program, run by an interpreter and by the kernel.

mod interpreter;
mod live;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::assemble::Code;
use super::compile::{Architecture, X32_BIT, compile};
use super::policy::{ALLOWED, OTHERS, Rule};
use super::tables::{self, AUDIT_AARCH64, AUDIT_ARM, AUDIT_I386, AUDIT_X86_64};
use interpreter::{Call, Verdict, run};

fn all() -> Vec<Architecture> {
    vec![
        tables::x86_64(),
        tables::i386(),
        tables::aarch64(),
        tables::arm(),
    ]
}

fn verdict(audit: u32, number: u32, arguments: [u64; 6]) -> Verdict {
    static PROGRAM: LazyLock<Code> = LazyLock::new(|| compile(&all()));
    let call = Call {
        number,
        audit,
        arguments,
    };
    run(&PROGRAM, &call).verdict
}

const EPERM: Verdict = Verdict::Fail(1);
const ENOSYS: Verdict = Verdict::Fail(38);
const ENOTSUP: Verdict = Verdict::Fail(95);

fn number(audit: u32, name: &str) -> Option<u32> {
    macro_rules! parse {
        ($module:ident) => {
            name.parse::<syscalls::$module::Sysno>()
                .ok()
                .map(|call| call.id().cast_unsigned())
        };
    }
    match audit {
        AUDIT_X86_64 => parse!(x86_64),
        AUDIT_I386 => parse!(x86),
        AUDIT_AARCH64 => parse!(aarch64),
        _ => parse!(arm),
    }
}

const AUDITS: [u32; 4] = [AUDIT_X86_64, AUDIT_I386, AUDIT_AARCH64, AUDIT_ARM];

/// Asserts this verdict wherever there is a call of the name.
fn assert_everywhere(name: &str, arguments: [u64; 6], expected: Verdict) {
    let mut seen = 0;
    for audit in AUDITS {
        if let Some(number) = number(audit, name) {
            assert_eq!(
                verdict(audit, number, arguments),
                expected,
                "{name} {audit:#x}"
            );
            seen += 1;
        }
        if audit == AUDIT_X86_64
            && let Some(number) = number(audit, name)
            && !tables::X32_CALLS.contains(&name)
        {
            let x32 = number | X32_BIT;
            assert_eq!(verdict(audit, x32, arguments), expected, "{name} x32");
        }
    }
    assert!(seen > 0, "no architecture has {name}");
}

#[test]
fn every_number_of_every_architecture_gets_its_rule() {
    let architectures = all();
    let program = compile(&architectures);
    for architecture in &architectures {
        let highest = *architecture.table.keys().last().unwrap();
        for number in (0..2048).chain(highest.saturating_sub(8)..highest + 8) {
            let rule = architecture.table.get(&number).copied();
            let call = Call {
                number,
                audit: architecture.audit,
                arguments: [0; 6],
            };
            let expected = match rule {
                None => ENOSYS,
                Some(Rule::Fail(errno)) => Verdict::Fail(errno),
                Some(_) => Verdict::Allow,
            };
            assert_eq!(
                run(&program, &call).verdict,
                expected,
                "{number} {:#x}",
                call.audit
            );
        }
    }
}

#[test]
fn unknown_numbers_do_not_exist() {
    for audit in AUDITS {
        for number in [
            470,
            471,
            511,
            548,
            1000,
            0x3fff_ffff,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX,
        ] {
            assert_eq!(
                verdict(audit, number, [0; 6]),
                ENOSYS,
                "{number} {audit:#x}"
            );
        }
    }
}

#[test]
fn other_architectures_are_killed() {
    for audit in [0, 8, 243 | 0xc000_0000, u32::MAX] {
        assert_eq!(verdict(audit, 0, [0; 6]), Verdict::Kill, "{audit:#x}");
    }
}

#[test]
fn modes_with_set_id_bits_are_refused() {
    const FORBIDDEN: [u64; 5] = [0o4755, 0o2755, 0o6777, 0o4000, 0o10_2644];
    const PLAIN: [u64; 5] = [0o755, 0o1777, 0, 0o10_0644, 0o644 | 1 << 32];
    let cases: [(&str, usize); 7] = [
        ("chmod", 1),
        ("fchmod", 1),
        ("creat", 1),
        ("mknod", 1),
        ("fchmodat", 2),
        ("fchmodat2", 2),
        ("mknodat", 2),
    ];
    for (name, index) in cases {
        let with = |mode: u64| {
            // Every other argument looks like a forbidden mode.
            let mut arguments = [0o6000; 6];
            arguments[index] = mode;
            arguments
        };
        for mode in FORBIDDEN {
            assert_everywhere(name, with(mode), EPERM);
        }
        for mode in PLAIN {
            assert_everywhere(name, with(mode), Verdict::Allow);
        }
    }
}

#[test]
fn open_is_looked_at_only_where_it_makes_a_file() {
    const READ: u64 = 0;
    const CREATE: u64 = 0o101;
    const TEMPORARY: u64 = 0o20_200_002;
    for (name, flags_at) in [("open", 1), ("openat", 2)] {
        let with = |flags: u64, mode: u64| {
            let mut arguments = [0o6000; 6];
            arguments[flags_at] = flags;
            arguments[flags_at + 1] = mode;
            arguments
        };
        assert_everywhere(name, with(READ, 0o4755), Verdict::Allow);
        assert_everywhere(name, with(CREATE, 0o755), Verdict::Allow);
        assert_everywhere(name, with(TEMPORARY, 0o644), Verdict::Allow);
        assert_everywhere(name, with(CREATE, 0o4755), EPERM);
        assert_everywhere(name, with(CREATE, 0o2755), EPERM);
        assert_everywhere(name, with(TEMPORARY, 0o4755), EPERM);
    }
}

#[test]
fn extended_attributes_are_not_supported() {
    for name in [
        "setxattr",
        "lsetxattr",
        "fsetxattr",
        "setxattrat",
        "getxattr",
        "getxattrat",
        "flistxattr",
        "listxattrat",
        "removexattr",
        "removexattrat",
    ] {
        assert_everywhere(name, [0; 6], ENOTSUP);
    }
}

#[test]
fn the_kernels_inside_is_closed() {
    for name in [
        "bpf",
        "kexec_load",
        "init_module",
        "finit_module",
        "perf_event_open",
        "reboot",
    ] {
        assert_everywhere(name, [0; 6], EPERM);
    }
    for name in [
        "io_uring_setup",
        "io_uring_enter",
        "keyctl",
        "add_key",
        "request_key",
    ] {
        assert_everywhere(name, [0; 6], ENOSYS);
    }
}

#[test]
fn what_test_suites_need_is_allowed() {
    for name in [
        "mount", "ptrace", "clone3", "openat2", "unshare", "clone", "execve", "seccomp",
    ] {
        assert_everywhere(name, [u64::MAX; 6], Verdict::Allow);
    }
}

#[test]
fn x32_has_the_rules_of_its_own_numbers() {
    let calls = tables::X32_CALLS;
    assert_eq!(calls.len(), 36);
    for (number, name) in (512..).zip(calls) {
        let expected = match *name {
            "kexec_load" => EPERM,
            _ => Verdict::Allow,
        };
        let x32 = verdict(AUDIT_X86_64, number | X32_BIT, [0; 6]);
        assert_eq!(x32, expected, "{name}");
        // Without the bit these numbers mean nothing.
        assert_eq!(verdict(AUDIT_X86_64, number, [0; 6]), ENOSYS, "{name}");
    }
}

#[test]
fn arm_has_its_private_calls() {
    for number in 0x000f_0001..=0x000f_0006 {
        assert_eq!(verdict(AUDIT_ARM, number, [0; 6]), Verdict::Allow);
        assert_eq!(verdict(AUDIT_AARCH64, number, [0; 6]), ENOSYS);
    }
    assert_eq!(verdict(AUDIT_ARM, 0x000f_0007, [0; 6]), ENOSYS);
}

/// The kernel's cache of constant answers needs programs that load nothing else.
#[test]
fn plain_calls_load_number_and_architecture_only() {
    let program = compile(&all());
    for name in [
        "read",
        "write",
        "close",
        "mmap",
        "fstat",
        "getpid",
        "io_uring_setup",
    ] {
        for audit in AUDITS {
            let Some(number) = number(audit, name) else {
                continue;
            };
            let call = Call {
                number,
                audit,
                arguments: [0; 6],
            };
            let trace = run(&program, &call);
            assert!(trace.loads.iter().all(|at| *at < 8), "{name} {audit:#x}");
            assert!(trace.steps <= 24, "{name} takes {} steps", trace.steps);
        }
    }
}

#[test]
fn program_fits_the_kernels_limit() {
    const BPF_MAXINSNS: usize = 4096;
    for architectures in [all(), tables::architectures()] {
        let length = compile(&architectures).len();
        assert!(length < BPF_MAXINSNS, "{length} instructions");
    }
}

#[test]
fn policy_names_each_call_once_and_no_other() {
    let named: Vec<&str> = ALLOWED
        .iter()
        .copied()
        .chain(OTHERS.iter().map(|(_, names)| *names))
        .flatten()
        .copied()
        .collect();
    let set: BTreeSet<&str> = named.iter().copied().collect();
    assert_eq!(named.len(), set.len(), "a name is there twice");
    for name in set {
        let exists = AUDITS.iter().any(|audit| number(*audit, name).is_some());
        assert!(exists, "'{name}' is no system call");
    }
}

/// A new call in the tables is a decision to be made.
#[test]
fn only_these_known_calls_are_left_out() {
    let named: BTreeSet<&str> = ALLOWED
        .iter()
        .copied()
        .chain(OTHERS.iter().map(|(_, names)| *names))
        .flatten()
        .copied()
        .collect();
    let mut left_out: BTreeSet<&str> = BTreeSet::new();
    macro_rules! add_names {
        ($module:ident) => {
            use syscalls::$module::Sysno;
            let calls = Sysno::iter().chain([Sysno::last()]);
            left_out.extend(calls.map(|call| call.name()));
        };
    }
    {
        add_names!(x86_64);
    }
    {
        add_names!(x86);
    }
    {
        add_names!(aarch64);
    }
    {
        add_names!(arm);
    }
    left_out.retain(|name| !named.contains(name));
    let left_out: Vec<&str> = left_out.into_iter().collect();
    insta::assert_snapshot!(left_out.join(" "), @"_sysctl afs_syscall bdflush create_module file_getattr file_setattr ftime get_kernel_syms getpmsg gtty idle lock lookup_dcookie lsm_set_self_attr mpx nfsservctl pciconfig_iobase pciconfig_read pciconfig_write prof profil putpmsg query_module r#break security stty tuxcall ulimit uselib vm86 vm86old vserver");
}
