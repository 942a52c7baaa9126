use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::client::fake_server::{MemoryServer, Object, connect, object, path};
use crate::client::order::references_first;
use crate::proto::path_info::read_add_to_store_nar;

/// NARs in memory; one of them may fail.
struct Source(BTreeMap<StorePath, Vec<u8>>);

impl NarSource for Source {
    fn dump(&mut self, path: &StorePath, out: &mut dyn Write) -> Result<(), BoxError> {
        let nar = &self.0[path];
        for piece in nar.chunks(1000) {
            out.write_all(piece)?;
        }
        match path.name().as_str() {
            "unreadable" => Err("disk on fire".into()),
            _ => Ok(()),
        }
    }
}

/// Notes what it is told.
#[derive(Default)]
struct Notes(Mutex<(u64, u64, Vec<String>)>);

impl CopyProgress for Notes {
    fn started(&self, paths: u64, _: u64) {
        self.0.lock().unwrap().0 += paths;
    }
    fn bytes(&self, count: u64) {
        self.0.lock().unwrap().1 += count;
    }
    fn path_done(&self, path: &StorePath) {
        self.0.lock().unwrap().2.push(path.name().to_string());
    }
}

fn split(objects: &[Object]) -> (Vec<ValidPathInfo>, Source) {
    let infos = objects.iter().map(|object| object.info.clone()).collect();
    let nars = objects
        .iter()
        .map(|object| (object.info.path.clone(), object.nar.clone()));
    let infos = references_first(&StoreDir::default(), infos).unwrap();
    (infos, Source(nars.collect()))
}

fn copy(connection: &mut ClientConnection, objects: &[Object]) -> Result<CopySummary> {
    let (infos, mut source) = split(objects);
    let plan = CopyToPlan::make(connection, infos, Substitute::No)?;
    plan.send(connection, &mut source, &super::super::NoProgress)
}

fn closure() -> Vec<Object> {
    vec![
        object("top", &[7; 50_000], &["top", "left", "right"]),
        object("left", b"l", &["base"]),
        object("right", b"", &["base"]),
        object("base", &[1; 9000], &[]),
    ]
}

#[test]
fn every_version_gets_what_it_lacks_in_a_form_that_it_knows() {
    for minor in 0..=8 {
        let objects = closure();
        let (mut connection, server) = MemoryServer::with([objects[3].clone()]).start(minor);
        let (infos, mut source) = split(&objects);
        let notes = Notes::default();
        let plan = CopyToPlan::make(&mut connection, infos, Substitute::No).unwrap();
        let names: Vec<_> = plan
            .missing
            .iter()
            .map(|i| i.path.name().as_str())
            .collect();
        assert_eq!(names, ["left", "right", "top"]);
        let summary = plan.send(&mut connection, &mut source, &notes).unwrap();
        connection.finish();
        let server = server.join().unwrap();
        assert_eq!(
            server.objects,
            MemoryServer::with(objects).objects,
            "2.{minor}"
        );
        assert_eq!(server.pinned.len(), 4);
        let command = if minor < 5 {
            ServeCommand::ImportPaths
        } else {
            ServeCommand::AddToStoreNar
        };
        let expected = if minor < 5 { 1 } else { 3 };
        assert_eq!(server.commands[0], ServeCommand::QueryValidPaths);
        assert_eq!(server.commands[1..], vec![command; expected]);
        let (paths, bytes, done) = notes.0.into_inner().unwrap();
        assert_eq!((paths, bytes), (summary.paths, summary.bytes));
        assert_eq!(done, ["left", "right", "top"]);
    }
}

#[test]
fn nothing_missing_is_nothing_sent() {
    let objects = closure();
    let (mut connection, server) = MemoryServer::with(objects.clone()).start(7);
    assert_eq!(
        copy(&mut connection, &objects).unwrap(),
        CopySummary::default()
    );
    connection.finish();
    assert_eq!(
        server.join().unwrap().commands,
        [ServeCommand::QueryValidPaths]
    );
}

#[test]
fn substitution_is_asked_for_only_on_demand() {
    for (substitute, expected) in [(Substitute::No, false), (Substitute::Yes, true)] {
        let (mut connection, server) = connect(|wire| {
            wire.greet(7);
            wire.expect(ServeCommand::QueryValidPaths);
            let request = QueryValidPaths::read(&StoreDir::default(), &mut wire.requests).unwrap();
            wire.replies.write_u64(0).unwrap();
            request.substitute
        });
        let (infos, _) = split(&closure());
        CopyToPlan::make(&mut connection, infos, substitute).unwrap();
        assert_eq!(server.join().unwrap(), expected);
    }
}

/// A server with nothing, which calls `then` for each object after its NAR was read.
fn taking(
    mut then: impl FnMut(&mut crate::client::fake_server::Wire, usize) -> bool + Send + 'static,
) -> (ClientConnection, std::thread::JoinHandle<usize>) {
    connect(move |wire| {
        let dir = StoreDir::default();
        wire.greet(7);
        wire.expect(ServeCommand::QueryValidPaths);
        QueryValidPaths::read(&dir, &mut wire.requests).unwrap();
        wire.replies.write_u64(0).unwrap();
        let mut taken = 0;
        while let Ok(Some(_)) = crate::proto::command::read_command(&mut wire.requests) {
            if read_add_to_store_nar(&dir, &mut wire.requests).is_err()
                || nix_nar::copy(&mut wire.requests, &mut io::sink()).is_err()
            {
                break;
            }
            taken += 1;
            if !then(wire, taken) {
                break;
            }
        }
        taken
    })
}

fn many(count: usize) -> Vec<Object> {
    (0..count)
        .map(|i| object(&format!("n{i:03}"), &[3; 700], &[]))
        .collect()
}

#[test]
fn all_objects_go_out_before_the_first_is_acknowledged() {
    let (mut connection, server) = taking(|wire, taken| {
        if taken == 200 {
            for _ in 0..200 {
                wire.replies.write_u64(1).unwrap();
            }
        }
        true
    });
    let summary = copy(&mut connection, &many(200)).unwrap();
    assert_eq!(summary.paths, 200);
    connection.finish();
    assert_eq!(server.join().unwrap(), 200);
}

#[test]
fn a_refusal_names_the_object_that_was_not_acknowledged() {
    // The server goes without a word while later objects are still on their way.
    let (mut connection, server) = taking(|wire, taken| {
        if taken < 3 {
            wire.replies.write_u64(1).unwrap();
        }
        taken < 3
    });
    let error = copy(&mut connection, &many(500)).unwrap_err();
    insta::assert_snapshot!(error, @"no proper answer from 'fake' to AddToStoreNar for '/nix/store/11111111111111111111111111111111-n002'");
    assert!(error.is_connection_lost());
    assert_eq!(server.join().unwrap(), 3);
    assert!(matches!(
        copy(&mut connection, &many(1)),
        Err(ClientError::Closed { .. })
    ));
}

#[test]
fn anything_but_one_is_no_acknowledgement() {
    let (mut connection, server) = taking(|wire, _| {
        wire.replies.write_u64(2).unwrap();
        false
    });
    let error = copy(&mut connection, &many(1)).unwrap_err();
    insta::assert_snapshot!(std::error::Error::source(&error).unwrap(), @"expected 1 as the acknowledgement, got 2");
    server.join().unwrap();
}

#[test]
fn a_failing_source_is_the_error_and_ends_the_connection() {
    let (mut connection, server) = taking(|wire, _| {
        wire.replies.write_u64(1).unwrap();
        true
    });
    let objects = [object("a", b"a", &[]), object("unreadable", b"b", &["a"])];
    let error = copy(&mut connection, &objects).unwrap_err();
    insta::assert_snapshot!(error, @"cannot dump '/nix/store/11111111111111111111111111111111-unreadable'");
    insta::assert_snapshot!(std::error::Error::source(&error).unwrap(), @"disk on fire");
    assert!(server.join().unwrap() >= 1);
}

#[test]
fn a_nar_of_another_size_than_announced_is_never_completed() {
    for (wrong, expected) in [(-1, "more"), (8, "192")] {
        let (mut connection, server) = taking(|wire, _| {
            wire.replies.write_u64(1).unwrap();
            true
        });
        let mut wrong_size = object("a", &[1; 80], &[]);
        assert_eq!(wrong_size.nar.len(), 192);
        wrong_size.info.info.nar_size = wrong_size.info.nar_size.saturating_add_signed(wrong);
        let error = copy(&mut connection, &[wrong_size])
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with(&format!("bytes but has {expected}")),
            "{error}"
        );
        assert!(server.join().unwrap() <= 1);
    }
}

#[test]
fn what_was_built_here_is_not_said_to_be_built_there() {
    let mut built = object("a", b"x", &[]);
    built.info.info.ultimate = true;
    built.info.info.registration_time = 1234;
    let (mut connection, server) = MemoryServer::default().start(8);
    copy(&mut connection, &[built]).unwrap();
    connection.finish();
    let server = server.join().unwrap();
    let there = &server.objects[&path("a")].info;
    assert!(!there.ultimate);
    assert_eq!(there.registration_time, 1234);
}
