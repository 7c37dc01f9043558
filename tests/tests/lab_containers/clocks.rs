//! Timers against /proc/timer_list; HZ, `jiffies` and the clocks against the configuration and what was recorded.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::{array, read_json, root};

use crate::{Machine, read};

/// CPU and clock; function, and the range in which it expires.
type Timers = BTreeMap<(u64, u64), Vec<(String, i64, i64)>>;

impl Machine {
    /// What is in /proc/timer_list before and after the dump is in the dump; what is in neither was set in between.
    pub fn timers(&self) {
        let before = timer_list(&self.system("timer_list"));
        let after = timer_list(&read(&self.after.join("system/timer_list")));
        let mut found = Timers::new();
        for cpu in array(&self.found["clocks"]["timers"]) {
            for (clock, timers) in (0..).zip(array(&cpu[1])) {
                let row = |timer: &Value| {
                    let number = |at: usize| timer[at].as_i64().expect("a number");
                    let name = timer[0].as_str().unwrap_or("of a module");
                    (name.to_owned(), number(1), number(2))
                };
                let cpu = cpu[0].as_u64().expect("a number");
                found.insert((cpu, clock), array(timers).iter().map(row).collect());
            }
        }
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            before.keys().collect::<Vec<_>>()
        );
        let (mut same, mut moved, mut new) = (0, 0, 0);
        for (place, timers) in &before {
            let stayed: Vec<_> = timers
                .iter()
                .filter(|timer| after[place].contains(timer))
                .collect();
            let there: Vec<_> = found[place].iter().collect();
            for (name, soft, hard) in stayed {
                // The kernel names functions of modules with the module.
                let name = name.split(' ').next().unwrap_or_default();
                let is_there = there.iter().any(|timer| {
                    (timer.0 == name || timer.0 == "of a module")
                        && (timer.1, timer.2) == (*soft, *hard)
                });
                assert!(is_there, "{place:?}: {name} {soft} in {there:#?}");
                same += 1;
            }
            // Those that were set anew are the same functions.
            for timer in there.iter().filter(|timer| !timers.contains(timer)) {
                let mut functions = timers.iter().chain(&after[place]);
                let is_known = functions.any(|known| {
                    known.0.split(' ').next() == Some(&timer.0) || timer.0 == "of a module"
                });
                if is_known {
                    moved += 1;
                } else {
                    println!("  {place:?}: {timer:?} in neither list");
                    new += 1;
                }
            }
        }
        println!("  {same} timers of /proc/timer_list stood still; {moved} were set anew");
        // Such as a device that falls asleep after what the recorder wrote last.
        assert!(same >= 3 && new <= 2, "{same} {new}");
    }

    /// HZ as it was configured; clocks between the recordings before and after the dump.
    pub fn clocks(&self) {
        let clocks = &self.found["clocks"];
        let lab = read_json(&self.truth.with_file_name("lab.json"));
        let config = lab["config"].as_str().expect("a path");
        let config = read(&root().join("target/lab").join(config));
        let hz: u64 = config
            .lines()
            .find_map(|line| line.strip_prefix("CONFIG_HZ="))
            .and_then(|hz| hz.parse().ok())
            .expect("CONFIG_HZ");
        assert_eq!(clocks["hz"], hz);
        assert_eq!(clocks["hz_by_uptime"], hz);
        // Ages are what was asked for.
        assert_eq!(clocks["hundred_ago"]["jiffies"], 100);
        assert_eq!(clocks["hundred_ago"]["seconds"], 100.0 / hz as f64);
        assert_eq!(clocks["in_fifty"]["jiffies"], 50);

        let second = self.system("timer_list");
        let after = read(&self.after.join("system/timer_list"));
        let between = |what: &str, from: u64, found: &Value, to: u64| {
            let found = found.as_u64().expect("a number");
            assert!(
                (from..=to).contains(&found),
                "{what}: {from} <= {found} <= {to}"
            );
        };
        between(
            "monotonic",
            number_behind(&second, "now at "),
            &clocks["monotonic"],
            number_behind(&after, "now at "),
        );
        between(
            "jiffies",
            number_behind(&second, "jiffies: "),
            &clocks["jiffies"],
            number_behind(&after, "jiffies: "),
        );
        // The guest was never suspended.
        assert_eq!(clocks["boot"], clocks["monotonic"]);
        let offset = number_behind(
            second.split_once("ktime_get_real").expect("a clock").1,
            ".offset:     ",
        );
        let real = clocks["real"].as_u64().expect("a number");
        assert_eq!(
            real - clocks["monotonic"].as_u64().expect("a number"),
            offset
        );
        println!(
            "  HZ is {hz}; the clocks lie between what was recorded before and after the dump"
        );
    }
}

fn number_behind(text: &str, what: &str) -> u64 {
    let (_, rest) = text
        .split_once(what)
        .unwrap_or_else(|| panic!("no {what:?}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

fn timer_list(text: &str) -> Timers {
    let mut found = Timers::new();
    let (mut cpu, mut clock) = (0, 0);
    let mut function = String::new();
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("cpu: ") {
            cpu = number.parse().expect("a number");
        } else if let Some(number) = line.strip_prefix(" clock ") {
            clock = number.trim_end_matches(':').parse().expect("a number");
            found.insert((cpu, clock), Vec::new());
        } else if let Some(rest) = line.strip_prefix(" # expires at ") {
            let range = rest.split(' ').next().unwrap_or_default();
            let (soft, hard) = range.split_once('-').expect("a range");
            let number = |text: &str| text.parse().expect("a number");
            let timers = found.get_mut(&(cpu, clock)).expect("a clock came before");
            timers.push((function.clone(), number(soft), number(hard)));
        } else if line.starts_with(" #") {
            // ` #0: <address>, function, S:01`
            let mut parts = line.split(", ");
            function = parts.nth(1).unwrap_or_default().to_owned();
        }
    }
    found
}
