//! Sessions under roles, each rule refused and allowed.

mod builds;
mod imports;
mod machine;
mod views;

use nix_base::StorePathSet;

use crate::policy::{Capability, Role};
use crate::proto::ServeCommand;
use crate::server::{Rule, Verdict};
use machine::{Machine, Talk, key, only, path};

/// Commands with what they need, and what a role without anything to write says.
#[test]
fn each_command_needs_one_of_its_capabilities_before_its_arguments() {
    use Capability::*;
    let m = Machine::new();
    let needed: [(ServeCommand, &[Capability]); 8] = [
        (ServeCommand::QueryValidPaths, &[Query]),
        (ServeCommand::QueryPathInfos, &[Query]),
        (ServeCommand::QueryClosure, &[Query]),
        (ServeCommand::DumpStorePath, &[Dump]),
        (ServeCommand::ExportPaths, &[Dump]),
        (
            ServeCommand::AddToStoreNar,
            &[ImportCa, ImportSigned, ImportAny],
        ),
        (ServeCommand::BuildPaths, &[BuildVerified, BuildAny]),
        (ServeCommand::BuildDerivation, &[BuildVerified, BuildAny]),
    ];
    for (command, capabilities) in needed {
        for one in Capability::ALL {
            let role = only(&[one, Substitute]);
            let talk = m.talk(role, &command.number().to_le_bytes());
            if capabilities.contains(&one) {
                // It gets as far as the arguments, which are missing.
                let text = talk.error();
                assert!(!text.contains("SEC-20"), "{command} with {one}: {text}");
            } else {
                let refusal = talk.refusal();
                assert_eq!(refusal.rule, Rule::Capability, "{command} with {one}");
                let remedy = refusal.remedy.unwrap();
                assert!(remedy.contains(capabilities[0].word()), "{remedy}");
            }
        }
    }
}

#[test]
fn readers_are_refused_in_the_words_that_clients_know() {
    let m = Machine::new();
    let talk = m.talk(Role::read_only(), &9_u64.to_le_bytes());
    assert_eq!(
        talk.error(),
        "importing paths is not allowed: the server runs without '--write'"
    );
    let record = &talk.records[0];
    assert_eq!(record.verdict, Verdict::Refused);
    assert_eq!(record.refusal.as_ref().unwrap().rule, Rule::Capability);
}

#[test]
fn export_streams_need_a_word_to_go_by_and_a_view_of_everything() {
    let m = Machine::new();
    let stream = [4_u64.to_le_bytes(), 0_u64.to_le_bytes()].concat();
    let refusal = m.talk(key("a"), &stream).refusal();
    assert_eq!(refusal.rule, Rule::ContentAddress);
    let mut role = key("a");
    role.capabilities.insert(Capability::ImportAny);
    assert_eq!(m.talk(role.clone(), &stream).refusal().rule, Rule::View);
    role.view = crate::policy::View::Everything;
    m.talk(role, &stream).done();
}

#[test]
fn every_operation_leaves_one_record() {
    let m = Machine::new();
    let (text, info) = machine::text("x", b"x", &[]);
    let request = [
        Talk::add(&info, &text),
        Talk::query_valid(&[info.path.clone(), path("y")]),
        Talk::dump(&info.path),
    ]
    .concat();
    let talk = m.talk(key("alice"), &request);
    talk.done();
    let told: Vec<_> = talk
        .records
        .iter()
        .map(|r| (r.command.as_str(), r.paths.len(), r.verdict))
        .collect();
    assert_eq!(
        told,
        [
            ("AddToStoreNar", 1, Verdict::Allowed),
            ("QueryValidPaths", 2, Verdict::Allowed),
            ("DumpStorePath", 1, Verdict::Allowed),
        ]
    );
    let first = &talk.records[0];
    assert_eq!(first.key.as_deref(), Some("alice"));
    assert_eq!(first.paths, StorePathSet::from([info.path.clone()]));
    assert_eq!(first.bytes, info.info.nar_size);
    assert_eq!(talk.records[2].bytes, info.info.nar_size);
}
