//! The root file system of a sandbox: what is where, and in which order it is made.

use std::path::{Path, PathBuf};

use super::{
    Bind, BindKind, KernelFs, Network, OsBytes, SANDBOX_GID, SANDBOX_UID, SandboxError,
    SandboxInput, Step, is_proper, is_range,
};
use crate::config::Layer;

/// All steps from the first mount to the new root.
pub(super) fn push_root(
    input: &SandboxInput<'_>,
    steps: &mut Vec<Step>,
) -> Result<(), SandboxError> {
    let range = is_range(input);
    let identity = &input.identity;
    steps.push(Step::PrivateMounts);
    steps.push(Step::Root {
        on: input.host_tmp.into(),
        options: root_options(input),
        owner: (input.is_root && range).then_some((identity.uid, identity.gid)),
    });
    push_etc(input, steps);
    push_own_directories(input, steps)?;
    let devices = !input
        .paths
        .iter()
        .any(|path| path.target == Path::new("/dev"));
    if devices {
        push_devices(input, steps);
    }
    steps.push(Step::Kernel(KernelFs::Proc));
    if range {
        steps.push(Step::Kernel(KernelFs::Sys));
    }
    push_inputs(input, steps)?;
    push_paths(input, steps)?;
    // A builder that is root in its namespace makes its own `/run` and the like.
    if !range {
        steps.push(Step::SealRoot);
    }
    steps.push(Step::Pivot);
    Ok(())
}

fn root_options(input: &SandboxInput<'_>) -> String {
    let identity = &input.identity;
    match (input.is_root, is_range(input)) {
        (true, false) => format!("mode=0750,gid={}", identity.gid),
        (true, true) => format!("mode=0755,uid={},gid={}", identity.uid, identity.gid),
        (false, _) => "mode=0750".to_owned(),
    }
}

fn push_etc(input: &SandboxInput<'_>, steps: &mut Vec<Step>) {
    let mode = if is_range(input) { 0o755 } else { 0o555 };
    steps.push(Step::Directory {
        path: "/etc".into(),
        mode,
    });
    let (uid, gid) = super::inside_ids(input);
    debug_assert!(uid == 0 || (uid, gid) == (SANDBOX_UID, SANDBOX_GID));
    let build_dir = OsBytes::from(input.config.build_dir.as_path());
    steps.push(file("/etc/passwd", passwd(uid, gid, &build_dir.0)));
    steps.push(file("/etc/group", group(gid)));
    if input.network == Network::Isolated {
        steps.push(file(
            "/etc/hosts",
            b"127.0.0.1 localhost\n::1 localhost\n".to_vec(),
        ));
        return;
    }
    steps.push(file(
        "/etc/nsswitch.conf",
        b"hosts: files dns\nservices: files\n".to_vec(),
    ));
    for (name, source) in &input.network_files.files {
        steps.push(Step::Bind(Bind {
            source: source.as_path().into(),
            target: Path::new("/etc").join(name).into(),
            kind: BindKind::File,
        }));
    }
    if let Some(text) = &input.network_files.resolv_conf {
        steps.push(file("/etc/resolv.conf", text.clone()));
    }
    if let Some(bundle) = &input.network_files.ca_bundle {
        for path in ["/etc/ssl", "/etc/ssl/certs"] {
            steps.push(Step::Directory {
                path: path.into(),
                mode: 0o755,
            });
        }
        steps.push(file("/etc/ssl/certs/ca-certificates.crt", bundle.clone()));
    }
}

/// `/etc/passwd`: the home of root is the build directory.
fn passwd(uid: u32, gid: u32, build_dir: &[u8]) -> Vec<u8> {
    let mut text = b"root:x:0:0:Nix build user:".to_vec();
    text.extend_from_slice(build_dir);
    text.extend_from_slice(b":/noshell\n");
    text.extend_from_slice(format!("nixbld:x:{uid}:{gid}:Nix build user:").as_bytes());
    text.extend_from_slice(build_dir);
    text.extend_from_slice(b":/noshell\nnobody:x:65534:65534:Nobody:/:/noshell\n");
    text
}

fn group(gid: u32) -> Vec<u8> {
    format!("root:x:0:\nnixbld:!:{gid}:\nnogroup:x:65534:\n").into_bytes()
}

/// The store, the build directory and `/tmp`, whichever of them may be in another.
fn push_own_directories(
    input: &SandboxInput<'_>,
    steps: &mut Vec<Step>,
) -> Result<(), SandboxError> {
    let mut own = [
        (input.store_dir, input.host_store),
        (input.config.build_dir.as_path(), input.host_build),
        (Path::new("/tmp"), input.host_tmp),
    ];
    own.sort_unstable_by_key(|(target, _)| *target);
    for (target, source) in own {
        steps.push(bind(source, target, BindKind::Own)?);
    }
    Ok(())
}

fn push_devices(input: &SandboxInput<'_>, steps: &mut Vec<Step>) {
    for path in ["/dev", "/dev/shm", "/dev/pts"] {
        steps.push(Step::Directory {
            path: path.into(),
            mode: 0o755,
        });
    }
    let kvm = input
        .kvm
        .then_some(("kvm", BindKind::Any { optional: true }));
    let devices = DEVICES.map(|name| (name, BindKind::Device));
    for (name, kind) in devices.into_iter().chain(kvm) {
        let path = OsBytes::from(format!("/dev/{name}"));
        steps.push(Step::Bind(Bind {
            source: path.clone(),
            target: path,
            kind,
        }));
    }
    for (path, target) in DEVICE_LINKS {
        steps.push(Step::Link {
            path: path.into(),
            target: target.into(),
        });
    }
    steps.push(Step::Kernel(KernelFs::Shm(
        input.config.dev_shm_size.clone(),
    )));
    steps.push(Step::Kernel(KernelFs::Pts));
}

fn push_inputs(input: &SandboxInput<'_>, steps: &mut Vec<Step>) -> Result<(), SandboxError> {
    for (source, target) in input.inputs {
        steps.push(bind(source, target, BindKind::Input)?);
    }
    Ok(())
}

/// Other paths of the host, those that contain others first.
fn push_paths(input: &SandboxInput<'_>, steps: &mut Vec<Step>) -> Result<(), SandboxError> {
    let mut paths: Vec<_> = input
        .paths
        .iter()
        .map(|path| (normalised(&path.target), path))
        .collect();
    paths.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (target, path) in paths {
        let optional = path.optional;
        steps.push(bind(&path.source, &target, BindKind::Any { optional })?);
    }
    Ok(())
}

/// Without `.`, doubled or trailing slashes. `..` stays, and is refused.
fn normalised(path: &Path) -> PathBuf {
    path.components().collect()
}

fn bind(source: &Path, target: &Path, kind: BindKind) -> Result<Step, SandboxError> {
    if !is_proper(target) || !source.is_absolute() {
        return Err(SandboxError::new(
            Layer::Mounts,
            format!("show '{}' at", source.display()),
            std::io::Error::from(std::io::ErrorKind::InvalidInput),
        )
        .at(target));
    }
    Ok(Step::Bind(Bind {
        source: source.into(),
        target: target.into(),
        kind,
    }))
}

fn file(path: &str, contents: Vec<u8>) -> Step {
    Step::File {
        path: path.into(),
        contents,
    }
}

const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "/dev/pts/ptmx"),
];
