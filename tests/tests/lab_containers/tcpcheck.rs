//! `tcpcheck` on a real dump: it finds what the guest made sick, and each damage that is planted, and nothing else.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::procfs::ends_of;
use tests::{TCP_STATES, analyze, array, lab_machines, read_json, shown, text, xtask};

use super::subject::Subject;

/// What is found: the rule, and the socket; nothing where it is of none.
type Found = BTreeSet<(String, String)>;

/// The findings in a dump, whose exit status must fit them.
fn check(program: &Path, core: impl AsRef<OsStr>) -> Found {
    let output = Command::new(program)
        .args(["--format", "json", "--core"])
        .arg(core.as_ref())
        .output()
        .expect("it was built");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", shown(&output)));
    let found: Found = array(&report["findings"])
        .iter()
        .map(|finding| {
            // A chain is no socket.
            let address = &finding["address"];
            assert!(address.is_string() || address.is_null(), "{finding}");
            let address = address.as_str().unwrap_or_default();
            (text(&finding["rule"]), address.to_owned())
        })
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
        let tcpcheck = super::analyzer(&release, "tcpcheck");
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

        plant(&release, &tcpcheck, &vmcore, &sound, sockets);
    }
}

/// Of copies that are damaged, each in one way, the damage is found, besides what was found before.
fn plant(release: &str, tcpcheck: &Path, vmcore: &Path, sound: &Found, sockets: &[Value]) {
    let address = |wanted: &dyn Fn(&Value) -> bool| {
        let socket = sockets
            .iter()
            .find(|socket| wanted(socket))
            .expect("there is one");
        text(&socket["address"])
    };
    let is_held = |socket: &Value| !array(&socket["holders"]).is_empty();
    let well = address(&|socket| {
        let is_idle = socket["timer"]["which"] == "off" && socket["form"] == "full";
        socket["state"] == "ESTAB" && is_idle && is_held(socket)
    });
    let waiting =
        address(&|socket| socket["state"] == "SYN-SENT" && socket["timer"]["which"] == "on");
    let listener = address(&|socket| {
        let is_quiet = socket["rx_queue"] == 0;
        socket["state"] == "LISTEN" && is_quiet && is_held(socket)
    });
    let closed_window = address(&|socket| {
        let is_blocked = socket["timer"]["which"] == "persist";
        socket["state"] == "ESTAB"
            && is_blocked
            && socket["info"]["last_data_sent_ms"].as_u64() > Some(10_000)
    });
    let full =
        address(&|socket| socket["rx_queue"].as_u64() > Some(50_000) && socket["state"] == "ESTAB");
    let well_ipv6 = address(&|socket| {
        let is_idle = socket["timer"]["which"] == "off" && socket["form"] == "full";
        let is_ipv6 = text(&socket["remote"]).contains("::") && socket["family"] == "inet6";
        socket["state"] == "ESTAB" && is_idle && is_ipv6 && is_held(socket)
    });
    let busy_listener =
        address(&|socket| socket["state"] == "LISTEN" && socket["rx_queue"].as_u64() > Some(0));
    // One that no process has yet.
    let accepted = address(&|socket| {
        let is_whole = socket["state"] == "ESTAB" && socket["form"] == "full";
        is_whole && !socket["waits_at"].is_null()
    });
    let program = super::build("damages", release);
    let mut subject = Subject::of(&program, vmcore);
    for (damage, rule, socket) in [
        ("refcount", "refcount", &well),
        ("send-memory", "send-memory", &well),
        ("receive-memory", "receive-memory", &well),
        ("negative-memory", "receive-memory", &well),
        ("wrong-bucket", "wrong-bucket", &well),
        ("port", "wrong-hash", &well),
        ("port", "wrong-hash", &well_ipv6),
        ("port", "wrong-bucket", &listener),
        ("foreign-end", "broken-chain", &well),
        ("foreign-end", "broken-chain", &listener),
        ("link-back", "broken-chain", &well),
        ("link-back", "broken-chain", &listener),
        ("lost", "lost", &well),
        ("lost", "lost", &listener),
        ("lost", "socket-count", &accepted),
        ("no-owner", "owner", &well),
        ("foreign-owner", "foreign-owner", &well),
        ("no-state", "not-a-socket", &well),
        ("time-wait", "not-a-socket", &well),
        ("family", "not-a-socket", &well),
        ("protocol", "not-a-socket", &well),
        ("no-state", "not-a-socket", &listener),
        ("no-timer", "no-timer", &waiting),
        ("late-timer", "late-timer", &waiting),
        ("dead-timer", "dead-timer", &waiting),
        ("wild-timer", "dead-timer", &waiting),
        ("wild-next", "dead-timer", &waiting),
        ("own-next", "dead-timer", &waiting),
        ("far-timer", "wrong-timer", &waiting),
        ("other-time", "wrong-timer", &waiting),
        ("device", "device", &well),
        ("accept-tail", "accept-tail", &busy_listener),
        ("secret", "wrong-hash", &well),
        ("poisoned-timer", "dead-timer", &waiting),
        ("stuck", "stuck", &closed_window),
        ("queue-count", "queue-count", &well),
        ("queue-count-of-nobody", "queue-count", &well),
        ("queue-end", "queue-count", &full),
        ("syn-queue", "syn-queue", &listener),
        ("copied", "sequence", &well),
        ("bound-by-none", "bind", &well),
        ("bound-by-none", "bind", &listener),
        ("bound-address", "bind", &well),
        ("bound-list", "bind", &well),
        ("bound-port", "bind", &waiting),
        ("bound-chain", "bind", &waiting),
        ("bound2-port", "bind", &waiting),
        ("bound2-net", "bind", &waiting),
        ("bound2-chain", "bind", &waiting),
        ("buffer", "buffer", &well),
        ("no-send-memory", "buffer", &well),
        ("no-send-memory", "buffer", &listener),
        ("negative-queued", "send-memory", &well),
        ("negative-queued", "buffer", &listener),
        ("backlog", "buffer", &well),
        ("negative-backlog", "buffer", &listener),
        ("sacked", "segment-count", &well),
        ("lost-segments", "segment-count", &waiting),
        ("sent-again", "segment-count", &waiting),
        ("no-window", "value", &well),
        ("no-window", "value", &listener),
        ("no-segment", "value", &well),
        ("no-timeout", "value", &well),
        ("no-timeout", "value", &listener),
        ("shut-down", "value", &well),
        ("shut-down", "value", &listener),
        ("other-family", "not-a-socket", &well),
        ("other-family", "not-a-socket", &well_ipv6),
        ("other-family", "not-a-socket", &listener),
        ("no-functions", "not-a-socket", &well),
        ("wild-functions", "not-a-socket", &listener),
        ("other-functions", "not-a-socket", &well),
        ("type", "not-a-socket", &well),
        ("type", "not-a-socket", &listener),
        ("no-congestion", "functions", &well),
        ("no-congestion", "functions", &listener),
        ("no-version", "functions", &well),
        ("wild-version", "functions", &listener),
        ("kind-of-timer", "wrong-timer", &well),
        ("kind-of-timer", "wrong-timer", &listener),
        ("dead", "foreign-owner", &well),
        ("dead", "foreign-owner", &listener),
        ("no-write-function", "dead-timer", &well),
        ("no-write-function", "dead-timer", &waiting),
        ("no-delack-function", "dead-timer", &listener),
        ("no-keepalive-function", "dead-timer", &well),
        ("unlisted-delack", "dead-timer", &well),
        ("unlisted-keepalive", "dead-timer", &well),
        ("unlisted-keepalive", "dead-timer", &waiting),
        ("lock-word", "lock", &well),
        ("lock-tail", "lock", &listener),
        ("lock-owner", "lock", &listener),
        ("acknowledged", "send-data", &well),
        ("written", "send-data", &closed_window),
        ("read", "receive-data", &well),
        ("came", "receive-data", &well),
        ("came", "receive-data", &full),
        ("gap", "receive-data", &full),
        ("gap", "send-data", &closed_window),
        ("tcp-memory", "memory-limit", &well),
        ("tcp-memory-below", "memory-limit", &well),
    ] {
        // In the crowd, one packet waits for the closed window.
        if damage == "gap" && socket == &closed_window && sockets.len() > 10_000 {
            continue;
        }
        let found = check(tcpcheck, subject.damage(damage, socket));
        let mut new: Vec<_> = found.difference(sound).cloned().collect();
        // A chain is no socket.
        let mut at = socket.as_str();
        if matches!(
            damage,
            "foreign-end" | "secret" | "tcp-memory" | "tcp-memory-below"
        ) {
            at = "";
            // What was behind it on the chain.
            new.retain(|(rule, _)| rule != "lost");
        }
        // What is lost is counted.
        let is_count = |(rule, at): &(String, String)| rule == "socket-count" && at.is_empty();
        if rule == "socket-count" {
            at = "";
        } else {
            let is_counted = new.iter().any(is_count);
            assert!(
                is_counted || damage != "lost",
                "{release}: {damage}: {new:?}"
            );
            assert!(
                !is_counted || ["lost", "foreign-end"].contains(&damage),
                "{release}: {damage}: {new:?}"
            );
            new.retain(|found| !is_count(found));
        }
        // The timer to which the link led before is left alone, too.
        if damage.ends_with("-next") {
            new.retain(|(_, found)| found == at);
        }
        assert_eq!(
            new,
            [(rule.to_owned(), at.to_owned())],
            "{release}: {damage}"
        );
        println!("{release}: {damage}: found, and nothing else");
    }

    // What a process has half done with the socket locked is nothing unusual.
    let core = subject.damage("at-work", &well);
    assert_eq!(check(tcpcheck, core), *sound, "{release}: at-work");
    // But that it was left out is said.
    let output = Command::new(tcpcheck)
        .args(["--core", core])
        .output()
        .expect("it was built");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = format!("locked, so that some rules leave them out: 1 socket: {well}\n");
    assert!(said.contains(&line), "{release}: {said}");

    // Nor is what came meanwhile.
    let found = check(tcpcheck, subject.damage("backlog-at-work", &well));
    assert_eq!(found, *sound, "{release}: backlog-at-work");

    // Nor is a timer that is about to run.
    let found = check(tcpcheck, subject.damage("due-timer", &waiting));
    assert_eq!(found, *sound, "{release}: due-timer");

    // Nor is a sum below zero, as long as CPUs hold back as much.
    let found = check(tcpcheck, subject.damage("tcp-memory-held", &well));
    assert_eq!(found, *sound, "{release}: tcp-memory-held");

    // What waits to be accepted and is no connection, and tasks without init, are faults: of every program that reads them.
    for (damage, socket, analyzers, what) in [
        (
            "wild-child",
            &busy_listener,
            &["tcp", "sockets"][..],
            "icsk_accept_queue",
        ),
        (
            "other-child",
            &busy_listener,
            &["tcp", "tcpcheck"],
            "icsk_accept_queue",
        ),
        ("same-child", &busy_listener, &["tcp"], "icsk_accept_queue"),
        ("foreign-end", &well, &["tcp", "sockets"], " of ehash: "),
        ("foreign-end", &listener, &["tcp"], " of lhash2: "),
        ("wild-net", &well, &["tcp", "tcpcheck"], "skc_net"),
        ("no-ehash", &well, &["tcp", "tcpcheck"], "ehash: "),
        ("ehash-mask", &well, &["tcp", "tcpcheck"], "ehash: "),
        ("locks-mask", &well, &["tcpcheck"], "ehash_locks_mask"),
        ("no-bhash", &well, &["tcpcheck"], "bhash: "),
        ("bhash-size", &well, &["tcpcheck"], "bhash: "),
        ("bhash-none", &well, &["tcpcheck"], "bhash: "),
        (
            "wild-congestion",
            &well,
            &["tcp", "tcpcheck"],
            "icsk_ca_ops",
        ),
        ("circle-of-tasks", &well, &["tcp"], "task list"),
        ("few-tasks", &well, &["tcp", "ps", "crashinfo"], "task list"),
        (
            "hidden-task",
            &well,
            &["ps", "crashinfo", "tcp", "sockets", "tcpcheck", "netns"],
            "nr_threads",
        ),
        ("one-cpu", &well, &["netstat"], "mask of CPUs"),
        ("max-fds", &well, &["tcp"], "max_fds of process 1"),
        (
            "no-tasks",
            &well,
            &["tcp", "sockets", "tcpcheck", "ps"],
            "task list",
        ),
    ] {
        let core = subject.damage(damage, socket);
        for analyzer in analyzers {
            let output = xtask(&["run", analyzer, "--core", core]);
            assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                said.contains(what),
                "{release}: {damage}: {analyzer}: {said}"
            );
        }
        println!("{release}: {damage}: {analyzers:?} say so");
    }

    tell_who_and_where(&mut subject, &well, sockets);

    // Ports that nobody has are no clean answer; and what is of no socket isn't said of some.
    let port = |options: &[&str]| {
        let mut command = Command::new(tcpcheck);
        command.arg("--core").arg(vmcore).args(options);
        let output = command.output().expect("it was built");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (status, said) = port(&["--port", "9"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("no socket has port 9"), "{said}");
    let some = format!("9,{},7", sockets[0]["local_port"]);
    let (status, said) = port(&["--port", &some, "--dst", "9.9.9.9", "--src", "0.0.0.0/0"]);
    assert_eq!(status, Some(2));
    let all = "no socket has port 9, nor port 7, nor peer's address 9.9.9.9";
    assert!(said.contains(all), "{said}");
    // What has one of the others is shown.
    let some = format!("9,{}", sockets[0]["local_port"]);
    let (status, said) = port(&["--port", &some]);
    assert_eq!((status, said.as_str()), (Some(2), "no socket has port 9\n"));
    let (status, said) = port(&["--process", "no-such-process"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("no-such-process; there is "), "{said}");
    let (status, said) = port(&["--state", "open"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("there is established, "), "{said}");
    let (status, said) = port(&["--full", "1000"]);
    assert_eq!(status, Some(2));
    assert!(said.contains("1000 is not in 0..=100"), "{said}");
    let (status, said) = port(&["--rule", "long-chain", "--sock", &well]);
    assert_eq!(status, Some(2));
    assert!(said.contains("no rule is left: long-chain"), "{said}");
    let whole = ["--rule", "long-chain,lost", "--chain", "0", "--sock", &well];
    assert_eq!(port(&whole).0, Some(0));

    // Three hundred sockets on a chain that is not theirs are one finding, with their number.
    let output = Command::new(tcpcheck)
        .args(["--format", "json", "--rule", "wrong-bucket", "--core"])
        .arg(subject.damage("crowded", &well))
        .output()
        .expect("it was built");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let found = array(&report["findings"]);
    assert_eq!(found.len(), 1, "{release}: {}", shown(&output));
    assert_eq!(found[0]["values"]["sockets"], 300, "{release}");
    println!("{release}: crowded: {}", found[0]["why"]);

    // Bound with its address by what binds another port.
    let core = subject.damage(&format!("bound2-of-{listener}"), &waiting);
    let new: Vec<_> = check(tcpcheck, core).difference(sound).cloned().collect();
    assert_eq!(new, [("bind".to_owned(), waiting.clone())], "{release}");

    // A chain that leads into another: what is on both is one socket, and that it is on both is said.
    let core = subject.damage(&format!("onto-{full}"), &well);
    let new: Vec<_> = check(tcpcheck, core).difference(sound).cloned().collect();
    assert_eq!(
        new,
        [("broken-chain".to_owned(), full.clone())],
        "{release}"
    );
    let output = xtask(&["run", "tcp", "--core", core, "--", "--format", "json"]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("a chain that leads into another"), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let listed = array(&report["sockets"]);
    let addresses: BTreeSet<String> = listed
        .iter()
        .map(|socket| text(&socket["address"]))
        .collect();
    assert_eq!(addresses.len(), listed.len());
    assert!(addresses.contains(&full) && addresses.contains(&well));
    println!(
        "{release}: a chain that leads into another: {} sockets, each once",
        listed.len()
    );
}

/// Whose a socket is, and where, is what can be known of it, and not what is damaged.
fn tell_who_and_where(subject: &mut Subject<'_>, well: &str, sockets: &[Value]) {
    let mut run = |damage: &str, options: &[&str]| {
        let core = subject.damage(damage, well);
        let args = [&["run", "tcp", "--core", core, "--"], options].concat();
        let output = xtask(&args);
        let written = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (written, said)
    };
    let listed = |written: &str| -> Vec<Value> {
        let report: Value = serde_json::from_str(written).expect("JSON");
        array(&report["sockets"]).clone()
    };
    let one = ["--sock", well, "--format", "json"];
    let (written, _) = run("wild-net", &one);
    assert_eq!(listed(&written)[0]["netns"], Value::Null);

    // It was removed meanwhile, and is known by its number.
    let (written, _) = run("gone-device", &["--sock", well]);
    assert!(written.contains("%if77000:"), "{written}");
    let (written, _) = run("gone-device", &one);
    let socket = &listed(&written)[0];
    assert_eq!(
        (&socket["ifindex"], &socket["device"]),
        (&77_000.into(), &Value::Null)
    );

    // What could not be read is said before what isn't there.
    let (_, said) = run("no-ehash", &["--dst", "10.254.254.254"]);
    let fault = said.find("  ehash: ").expect("a fault");
    assert!(
        said.find("no socket among those that could be read has")
            .is_some_and(|error| fault < error),
        "{said}"
    );

    // Nobody holds more than before.
    for damage in ["max-fds", "circle-of-tasks"] {
        let (written, _) = run(damage, &["--format", "json"]);
        let holders = |sockets: &[Value]| -> Vec<(String, Value)> {
            let holders = |socket: &Value| (text(&socket["address"]), socket["holders"].clone());
            sockets.iter().map(holders).collect()
        };
        assert_eq!(holders(&listed(&written)), holders(sockets), "{damage}");
    }
}

/// The guest with 20,000 connections wrote down what it made sick, and which rule is to find it.
#[test]
fn in_a_crowd_the_sick_are_found_and_nobody_else() {
    let crowds = lab_machines(&["crowd"]);
    assert!(!crowds.is_empty(), "no machine has a crowd");
    for folder in crowds {
        let release = text(&read_json(&folder.join("lab.json"))["release"]);
        let vmcore = folder.join("vmcore");
        let truth = |name: &str| {
            let path = folder.join("truth").join(name);
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        let sockets = analyze("tcp", &vmcore, &[]);
        let sockets = array(&sockets["sockets"]);

        // All are there: both ends and the state.
        let mut listed: Vec<(String, usize)> = Vec::new();
        for line in [truth("tcp"), truth("tcp6")]
            .iter()
            .flat_map(|file| file.lines().skip(1))
        {
            let ends = ends_of(line, true).map(|end| end.to_string()).join(" ");
            let state = line.split_whitespace().nth(3).expect("a state");
            let state = usize::from_str_radix(state, 16).expect("a number");
            listed.push((ends, state));
        }
        let mut found: Vec<(String, usize)> = sockets
            .iter()
            .map(|socket| {
                let [local, remote] =
                    [("local", "local_port"), ("remote", "remote_port")].map(|(address, port)| {
                        let address = text(&socket[address]).parse().expect("an address");
                        let port = socket[port].as_u64().and_then(|port| port.try_into().ok());
                        std::net::SocketAddr::new(address, port.expect("a port")).to_string()
                    });
                let state = TCP_STATES
                    .iter()
                    .position(|state| socket["state"] == *state);
                (format!("{local} {remote}"), state.expect("a state"))
            })
            .collect();
        listed.sort();
        found.sort();
        assert!(listed.len() > 20_000, "{}", listed.len());
        assert_eq!(found, listed, "{release}");
        println!("{release}: {} connections are those of /proc", found.len());

        let tcpcheck = super::analyzer(&release, "tcpcheck");
        let output = Command::new(&tcpcheck)
            .args(["--format", "json", "--core"])
            .arg(&vmcore)
            .output()
            .expect("it was built");
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["fault_count"], 0);
        let mut found: Vec<(String, String)> = array(&report["findings"])
            .iter()
            .map(|finding| (text(&finding["rule"]), subject(finding)))
            .collect();
        // RULE LOCAL PORT REMOTE PORT; of a pile the port and how many there are.
        let mut sick: Vec<(String, String)> = truth("sick")
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                let [rule, local, port, remote, number] = words[..] else {
                    panic!("{line}");
                };
                let end = |address: &str, port: &str| {
                    let port = port.parse().expect("a port");
                    std::net::SocketAddr::new(address.parse().expect("an address"), port)
                        .to_string()
                };
                let subject = match (local, remote) {
                    ("-", _) => format!("{number} connections of port {port}"),
                    (_, "-") => end(local, port),
                    _ => end(remote, number),
                };
                (rule.to_owned(), subject)
            })
            .collect();
        found.sort();
        sick.sort();
        assert_eq!(sick.len(), 12);
        assert_eq!(found, sick, "{release}");
        println!("{release}: {} are sick: {found:?}", found.len());

        // A request is sick that was answered again and again: it is no pile, but the beginning of one.
        let output = Command::new(&tcpcheck)
            .args(["--rule", "half-open", "--half-open", "0"])
            .args(["--format", "json", "--core"])
            .arg(&vmcore)
            .output()
            .expect("it was built");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let piles = array(&report["findings"]);
        assert_eq!(piles.len(), 1, "{release}");
        assert_eq!(subject(&piles[0]), "1 connection of port 8200");
        assert_eq!(piles[0]["values"]["port"], 8200);

        let sound = check(&tcpcheck, &vmcore);
        plant(&release, &tcpcheck, &vmcore, &sound, sockets);
    }
}

/// Whom a finding is about: the client, the listener, or a pile.
fn subject(finding: &Value) -> String {
    let Some(ends) = finding["ends"].as_str() else {
        let why = text(&finding["why"]);
        let words: Vec<&str> = why.split(' ').take(5).collect();
        return words.join(" ");
    };
    let (local, remote) = ends.split_once(' ').expect("two ends");
    let subject = if remote.ends_with(":0") {
        local
    } else {
        remote
    };
    subject.to_owned()
}
