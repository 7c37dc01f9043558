//! Rings, wait queues and counts, against what the guest's program said that it did and what /proc shows of each thread.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::{array, text};

use crate::{Machine, read};

impl Machine {
    /// A serial line's kfifo (6.12) or `circ_buf` (6.1); the rings of buffers in pipes; the llist of an io_uring.
    pub fn rings(&self) {
        let found = &self.found["waits"];
        let manifest = read(&self.truth.join("labd.manifest"));
        let (_, held) = manifest
            .split_once(" held=")
            .expect("the recorder held bytes back");
        let held = held.lines().next().unwrap_or_default();
        assert_eq!(found["serial"]["ttyS1"], held);
        // The console has sent all.
        assert_eq!(found["serial"]["ttyS0"], "");

        let files = &found["files"];
        let said = |role: &str, field: &str| {
            let line = manifest
                .lines()
                .find(|line| line.starts_with(&format!("LAB {role} ")));
            let line = line.unwrap_or_else(|| panic!("labd said nothing of {role}"));
            let value = line.split_once(&format!(" {field}=")).expect("a field").1;
            value
                .split([' ', ',', '('])
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let pipes = array(&files["pipes"]);
        let in_pipe = |pid: &str, fd: &str| {
            let pipe = pipes
                .iter()
                .find(|pipe| text(&pipe[0]) == pid && text(&pipe[1]) == fd);
            pipe.unwrap_or_else(|| panic!("{pid} has no pipe {fd}"))[3].clone()
        };
        assert_eq!(in_pipe(&said("files", "pid"), &said("files", "pipe")), 5000);
        // Each pipe has the inode that /proc/PID/fd shows.
        let mut shown = BTreeSet::new();
        let mut with_path = BTreeSet::new();
        let mut epolls = BTreeMap::new();
        let mut open: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for process in std::fs::read_dir(self.truth.join("proc")).expect("it was recorded") {
            let folder = process.expect("it can be listed").path();
            let pid = folder
                .file_name()
                .expect("a number")
                .to_string_lossy()
                .into_owned();
            for line in read(&folder.join("fd.txt")).lines() {
                let Some((fd, target)) = line.split_once(" -> ") else {
                    // What is behind a line break in a file's name.
                    continue;
                };
                open.entry(pid.clone())
                    .or_default()
                    .push(fd.parse().expect("a number"));
                if let Some(inode) = target.strip_prefix("pipe:[") {
                    shown.insert(format!("{pid} {fd} {}", inode.trim_end_matches(']')));
                } else if target.starts_with('/') {
                    with_path.insert(format!("{pid} {fd}"));
                }
                if target == "anon_inode:[eventpoll]" {
                    epolls.insert(
                        format!("{pid} {fd}"),
                        watched(&read(&folder.join("fdinfo").join(fd))),
                    );
                }
            }
        }
        let found_pipes: BTreeSet<String> = pipes
            .iter()
            // A FIFO that has a name is shown by it, without its inode.
            .filter(|pipe| !with_path.contains(&format!("{} {}", pipe[0], pipe[1])))
            .map(|pipe| format!("{} {} {}", pipe[0], pipe[1], pipe[2]))
            .collect();
        assert_eq!(found_pipes, shown);
        let mut found_open = BTreeMap::new();
        for (pid, numbers) in files["open"].as_object().expect("an object") {
            found_open.insert(
                pid.clone(),
                array(numbers).iter().filter_map(Value::as_u64).collect(),
            );
        }
        for numbers in open.values_mut() {
            numbers.sort_unstable();
        }
        // The folder that lists the recorder's own files is open while it is read.
        compare_open(&open, &found_open);
        // Red-black trees: what each epoll instance watches.
        let found_epolls: BTreeMap<String, Value> = array(&files["epolls"])
            .iter()
            .map(|epoll| (format!("{} {}", epoll[0], epoll[1]), epoll[2].clone()))
            .collect();
        assert_eq!(found_epolls, epolls);
        assert!(!epolls.is_empty());
        let untold = json!([[
            said("io_uring", "pid").parse::<u64>().expect("a number"),
            said("io_uring", "fd").parse::<u64>().expect("a number"),
            [1002, 1001, 1000]
        ]]);
        assert_eq!(sorted_work(&files["io_urings"]), sorted_work(&untold));
        println!(
            "  {} bytes in the ring of ttyS1; {} pipes, {} epoll instances, {} processes' open files; 3 requests of an io_uring",
            held.len(),
            shown.len(),
            epolls.len(),
            open.len()
        );
    }

    /// Who waits on a queue is a thread of which /proc says that it sleeps there.
    pub fn queues(&self) {
        let waits = &self.found["waits"];
        let sleeping = |functions: &[&str]| -> BTreeSet<u64> {
            let mut found = BTreeSet::new();
            for (tid, function) in &self.places() {
                if functions.contains(&function.split('.').next().unwrap_or_default()) {
                    found.insert(*tid);
                }
            }
            found
        };
        let queues = &waits["queues"];
        let threads = |name: &str| -> BTreeSet<u64> {
            let list = array(&queues[name]).iter();
            list.map(|waiter| {
                waiter
                    .as_u64()
                    .unwrap_or_else(|| panic!("{name}: {waiter}"))
            })
            .collect()
        };
        for (queue, functions) in [
            ("wait_chldexit", &["do_wait"][..]),
            ("kswapd_wait", &["kswapd"]),
            ("kcompactd_wait", &["kcompactd"]),
            ("kauditd_wait", &["kauditd_thread"]),
            ("gp_wq", &["rcu_gp_kthread", "rcu_gp_fqs_loop"]),
        ] {
            let there = threads(queue);
            assert_eq!(there, sleeping(functions), "{queue}");
            assert_eq!(there.len(), 1, "{queue}");
        }
        // The recorder waits for the byte that tells it to go on.
        assert_eq!(threads("ttyS1"), BTreeSet::from([1]));
        // Of pipes: an epoll instance, and polls of an io_uring that are done and wait no more.
        assert_eq!(queues["pipes"], json!(["epoll"]));

        // Sorted by priority: threads that wait for a futex, at the address that they gave.
        let futexes: BTreeMap<u64, u64> = array(&waits["futexes"])
            .iter()
            .map(|waiter| {
                let number = |at: usize| waiter[at].as_u64().expect("a number");
                (number(0), number(1))
            })
            .collect();
        let mut expected = BTreeMap::new();
        for tid in sleeping(&["futex_wait_queue", "futex_wait_queue_me", "__futex_wait"]) {
            let line = read(&self.thread(tid).join("syscall"));
            let address = line.split(' ').nth(1).expect("the first argument");
            let address = u64::from_str_radix(address.trim_start_matches("0x"), 16);
            expected.insert(tid, address.expect("an address"));
        }
        assert_eq!(futexes, expected);
        assert_eq!(futexes.len(), 2);
        let mutexes: BTreeSet<u64> = array(&waits["mutexes"])
            .iter()
            .filter_map(Value::as_u64)
            .collect();
        assert_eq!(mutexes, sleeping(&["pipe_write"]));
        assert_eq!(mutexes.len(), 2);
        println!(
            "  wait queues of 6 kinds, 2 futexes and a mutex have the threads that sleep there"
        );
    }

    /// Reference counts of Unix sockets and modules, as /proc shows them; of idle disks' queues.
    pub fn counts(&self) {
        let waits = &self.found["waits"];
        let mut shown: Vec<(u64, u64, u64)> = read(&self.truth.join("net/root/unix"))
            .lines()
            .skip(1)
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let hex = |at: usize| u64::from_str_radix(words[at], 16).expect("a number");
                (words[6].parse().expect("a number"), hex(4), hex(1))
            })
            .collect();
        let mut found: Vec<(u64, u64, u64)> = array(&waits["unix"])
            .iter()
            .map(|row| {
                let number = |at: usize| row[at].as_u64().expect("a number");
                (number(0), number(1), number(2))
            })
            .collect();
        shown.sort_unstable();
        found.sort_unstable();
        // While it is shown, a socket is not held once more.
        assert_eq!(found, shown);
        assert!(found.len() > 3);

        let modules = self.system("modules");
        let mut used = BTreeMap::new();
        for line in modules.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let count: i64 = words[2].parse().expect("a number");
            used.insert(words[0].to_owned(), json!(count));
        }
        let found_modules: BTreeMap<String, Value> = waits["modules"]
            .as_object()
            .expect("an object")
            .clone()
            .into_iter()
            .collect();
        assert_eq!(found_modules, used);

        let disks = waits["disks"].as_object().expect("an object");
        let mut idle = 0;
        for line in self.system("diskstats").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[11], "0", "{} has requests in flight", words[2]);
            let disk = disks
                .get(words[2])
                .unwrap_or_else(|| panic!("no disk {}", words[2]));
            assert_eq!(disk["dead"], false);
            // The first reference, which is there until the disk is removed.
            assert_eq!(disk["count"], 1, "{}: {disk}", words[2]);
            idle += 1;
        }
        assert!(idle > 0);
        println!(
            "  reference counts of {} Unix sockets, {} modules and {idle} disks",
            found.len(),
            used.len()
        );
    }

    fn thread(&self, tid: u64) -> std::path::PathBuf {
        let processes = std::fs::read_dir(self.truth.join("proc")).expect("it was recorded");
        processes
            .map(|process| {
                let path = process.expect("it can be listed").path();
                path.join("task").join(tid.to_string())
            })
            .find(|path| path.is_dir())
            .unwrap_or_else(|| panic!("no thread {tid}"))
    }

    /// The function that each thread sleeps in (/proc/TID/wchan).
    fn places(&self) -> BTreeMap<u64, String> {
        let mut found = BTreeMap::new();
        for process in std::fs::read_dir(self.truth.join("proc")).expect("it was recorded") {
            let threads = process.expect("it can be listed").path().join("task");
            for thread in std::fs::read_dir(threads).expect("it was recorded") {
                let path = thread.expect("it can be listed").path();
                let tid = path
                    .file_name()
                    .and_then(|name| name.to_str()?.parse().ok());
                found.insert(tid.expect("a number"), read(&path.join("wchan")));
            }
        }
        found
    }
}

/// Descriptors and events, of a line `tfd:  6 events:  19 data: ...`.
fn watched(fdinfo: &str) -> Value {
    let mut found = BTreeMap::new();
    for line in fdinfo.lines().filter(|line| line.starts_with("tfd:")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let events = u64::from_str_radix(words[3], 16).expect("a number");
        found.insert(words[1].to_owned(), events);
    }
    json!(found)
}

/// Work is done in any order.
fn sorted_work(rings: &Value) -> Vec<(String, BTreeSet<String>)> {
    let row = |ring: &Value| {
        let work = array(&ring[2]).iter().map(text).collect();
        (format!("{} {}", ring[0], ring[1]), work)
    };
    array(rings).iter().map(row).collect()
}

/// Kernel threads have no files; the recorder opens some while it looks.
fn compare_open(shown: &BTreeMap<String, Vec<u64>>, found: &BTreeMap<String, Vec<u64>>) {
    for (pid, numbers) in shown.iter().filter(|(pid, _)| *pid != "1") {
        assert_eq!(found.get(pid), Some(numbers), "open files of {pid}");
    }
    let only: Vec<_> = found
        .keys()
        .filter(|pid| !shown.contains_key(*pid))
        .collect();
    assert!(only.is_empty(), "{only:?}");
}
