use std::os::unix::fs::PermissionsExt;

use super::ssh_key::SshKeyError;
use super::*;

const BASE64: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIPZnQmvm5HOZg5EdtoCcBsMgut2hVF2/UnpmWd0uJ47p";

fn key(comment: &str) -> SshKey {
    SshKey::parse(&format!("# mine\n\nssh-ed25519  {BASE64} {comment}\n")).unwrap()
}

#[test]
fn a_key_is_taken_with_its_comment() {
    assert_eq!(
        key("alice@lap top ").line(),
        format!("ssh-ed25519 {BASE64} alice@lap top")
    );
    assert_eq!(key("").line(), format!("ssh-ed25519 {BASE64}"));
    assert_eq!(key("a\x1bb").line(), format!("ssh-ed25519 {BASE64} ab"));
}

#[test]
fn what_is_not_one_public_key_is_refused() {
    let problem = |text: &str| SshKey::parse(text).unwrap_err();
    assert_eq!(problem("\n# none\n"), SshKeyError::None);
    let line = format!("ssh-ed25519 {BASE64}\n");
    assert_eq!(problem(&format!("{line}{line}")), SshKeyError::Several);
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
    assert_eq!(problem(private), SshKeyError::Private);
    let options = format!("command=\"sh\" {line}");
    assert_eq!(
        problem(&options),
        SshKeyError::Kind("command=\"sh\"".to_owned())
    );
    assert_eq!(problem(&format!("ssh-rsa {BASE64}")), SshKeyError::Damaged);
    assert_eq!(problem("ssh-ed25519"), SshKeyError::Damaged);
    assert_eq!(problem("ssh-ed25519 AAAA"), SshKeyError::Damaged);
    assert_eq!(
        problem("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"),
        SshKeyError::Damaged
    );
}

#[test]
fn a_line_is_added_once_behind_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("new/authorized_keys");
    let (key, line) = (key("alice"), "restrict ssh-ed25519 KEY");
    assert_eq!(
        install::add_line(&file, &key, line).unwrap(),
        Outcome::Added
    );
    assert_eq!(
        install::add_line(&file, &key, line).unwrap(),
        Outcome::WasThere
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    fs::write(&file, "ssh-rsa other").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    install::add_line(&file, &key, line).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, format!("ssh-rsa other\n{line}\n"));
    assert_eq!(mode(&file), 0o640);
    let names = fs::read_dir(file.parent().unwrap()).unwrap();
    assert_eq!(names.count(), 1);
}

#[test]
fn a_key_with_other_rights_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("authorized_keys");
    let before = format!("# a\nssh-ed25519 {BASE64} me\n");
    fs::write(&file, &before).unwrap();
    let line = format!("restrict ssh-ed25519 {BASE64} me");
    let error = install::add_line(&file, &key("me"), &line).unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
}

#[test]
fn a_link_to_the_file_stays_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let (link, file) = (dir.path().join("link"), dir.path().join("file"));
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink("file", &link).unwrap();
    install::add_line(&link, &key(""), "line").unwrap();
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("file"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "line\n");
}
