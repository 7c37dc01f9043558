//! `tcpcheck` on a real dump: it finds what the guest made sick, and one damage that is planted, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::{analyze, array, lab_machines, read_json, root, shown, text, xtask};

/// What is found: the rule, the socket, its state and remote port.
type Found = BTreeSet<(String, String)>;

/// The findings in a dump, whose exit status must fit them.
fn check(program: &Path, core: &Path) -> Found {
    let output = Command::new(program)
        .args(["--format", "json", "--core"])
        .arg(core)
        .output()
        .expect("it was built");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", shown(&output)));
    let found: Found = array(&report["findings"])
        .iter()
        .map(|finding| (text(&finding["rule"]), text(&finding["address"])))
        .collect();
    let expected = match (report["fault_count"].as_u64(), found.is_empty()) {
        (Some(0), true) => 0,
        (Some(0), false) => 1,
        _ => 2,
    };
    assert_eq!(output.status.code(), Some(expected), "{}", shown(&output));
    found
}

#[test]
fn what_is_sick_is_found_and_nothing_else() {
    for folder in lab_machines(&["stop"]) {
        let release = text(&read_json(&folder.join("lab.json"))["release"]);
        let vmcore = folder.join("vmcore");
        let sockets = analyze("tcp", &vmcore, &[]);
        let sockets = array(&sockets["sockets"]);
        let built = xtask(&["build", "--kernel", &release, "tcpcheck"]);
        assert!(built.status.success(), "{}", shown(&built));
        let tcpcheck = root()
            .join("target/analyzers")
            .join(&release)
            .join("tcpcheck");
        let sound = check(&tcpcheck, &vmcore);
        // The guest's servers on these ports don't read, don't accept, or don't answer, and their peers send again and again.
        for (rule, address) in &sound {
            let socket = sockets
                .iter()
                .find(|socket| text(&socket["address"]) == *address)
                .expect("it is a socket");
            let info = &socket["info"];
            let is_sick = match rule.as_str() {
                "retransmits" => socket["timer"]["retransmits"].as_u64() >= Some(3),
                "zero-window" => socket["timer"]["which"] == "persist",
                "unread" => socket["rx_queue"].as_u64() > Some(50_000),
                "accept-queue" => socket["local_port"] == 8083,
                _ => false,
            };
            assert!(is_sick, "{release}: {rule}: {socket}: {info}");
        }
        for rule in ["retransmits", "zero-window", "unread", "accept-queue"] {
            let count = sound.iter().filter(|(found, _)| found == rule).count();
            println!("{release}: {rule}: {count} found");
            assert!(count > 0, "{release}: {rule}");
        }

        let address = |wanted: &dyn Fn(&Value) -> bool| {
            let socket = sockets
                .iter()
                .find(|socket| wanted(socket))
                .expect("there is one");
            text(&socket["address"])
        };
        let well = address(&|socket| {
            socket["state"] == "ESTAB"
                && socket["timer"]["which"] == "off"
                && socket["form"] == "full"
        });
        let waiting =
            address(&|socket| socket["state"] == "SYN-SENT" && socket["timer"]["which"] == "on");
        let program = super::build("damages", &release);
        for (damage, socket) in [
            ("refcount", &well),
            ("send-memory", &well),
            ("receive-memory", &well),
            ("wrong-bucket", &well),
            ("broken-chain", &well),
            ("no-timer", &waiting),
            ("late-timer", &waiting),
        ] {
            let copy =
                tempfile::NamedTempFile::new_in(root().join("target/lab")).expect("there is room");
            std::fs::copy(&vmcore, copy.path()).expect("there is room for a copy");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(copy.path(), mode).expect("it is ours");
            let output = Command::new(&program)
                .arg(copy.path())
                .args([damage, socket])
                .output()
                .expect("it was built");
            assert!(output.status.success(), "{release}: {}", shown(&output));
            let new: Vec<_> = check(&tcpcheck, copy.path())
                .difference(&sound)
                .cloned()
                .collect();
            // A chain is no socket.
            let at = if damage == "broken-chain" {
                "0x0"
            } else {
                socket
            };
            assert_eq!(new, [(damage.to_owned(), at.to_owned())], "{release}");
            println!("{release}: {damage}: found, and nothing else");
        }
    }
}
