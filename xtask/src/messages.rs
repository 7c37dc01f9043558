//! What cargo says in JSON (<https://doc.rust-lang.org/cargo/reference/external-tools.html>).

use serde::Deserialize;

/// A message of `--message-format=json`.
#[derive(Deserialize)]
pub struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    target: Option<Target>,
    /// Of a crate: it had been compiled before.
    #[serde(default)]
    fresh: bool,
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    rendered: Option<String>,
    #[serde(default)]
    spans: Vec<serde_json::Value>,
}

/// The messages in cargo's output; what else is in it is left out.
pub fn of(output: &[u8]) -> Vec<Message> {
    String::from_utf8_lossy(output)
        .lines()
        .filter_map(Message::of)
        .collect()
}

impl Message {
    /// What a line of cargo's output says; `None` if it is none of its messages.
    pub fn of(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// Whether this says that a crate was compiled, and had not been before.
    pub fn is_compiled(&self) -> bool {
        self.reason == "compiler-artifact" && !self.fresh
    }

    /// What the compiler says to people, but for its sums.
    pub fn text(&self) -> Option<&str> {
        let rendered = self.message.as_ref()?.rendered.as_deref();
        let is_sum = !self.is_error() || rendered.is_some_and(|it| it.contains("aborting due to"));
        self.remark().or(rendered.filter(|_| !is_sum))
    }

    pub fn is_error(&self) -> bool {
        let level = self.message.as_ref().map(|message| &message.level);
        level.is_some_and(|level| level.starts_with("error"))
    }

    /// The program that was compiled, or checked.
    pub fn program(&self) -> Option<&str> {
        let target = self.target.as_ref()?;
        let is_program =
            self.reason == "compiler-artifact" && target.kind.iter().any(|kind| kind == "bin");
        is_program.then_some(&*target.name)
    }

    /// An error or a warning, as text. A summary of them has no place in the source, and isn't one.
    pub fn remark(&self) -> Option<&str> {
        let message = self.message.as_ref()?;
        let counts = message.level == "warning" || message.level.starts_with("error");
        (self.reason == "compiler-message" && counts && !message.spans.is_empty())
            .then(|| message.rendered.as_deref().unwrap_or(&message.level))
    }

    /// The name of the crate: `path+file:///x/analyzers/ps#0.1.0`, `path+file:///x/analyzers/x#ps@0.1.0`.
    pub fn package(&self) -> &str {
        let (path, rest) = self
            .package_id
            .rsplit_once('#')
            .unwrap_or((&self.package_id, ""));
        match rest.split_once('@') {
            Some((name, _)) => name,
            None => path.rsplit('/').next().unwrap_or(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(level: &str, package: &str, spans: &[Value]) -> String {
        json!({
            "reason": "compiler-message",
            "package_id": package,
            "message": {"level": level, "rendered": level, "spans": spans},
        })
        .to_string()
    }

    #[test]
    fn remarks_are_errors_and_warnings_at_places() {
        let place = [json!({})];
        let lines = [
            message("warning", "path+file:///x/analyzers/ps#0.1.0", &place),
            message(
                "error",
                "path+file:///x/analyzers/route#routes@0.1.0",
                &place,
            ),
            message(
                "error: internal compiler error",
                "path+file:///x/generated#kernel@0.1.0",
                &place,
            ),
            message("failure-note", "path+file:///x/analyzers/ps#0.1.0", &place),
            message("error", "path+file:///x/analyzers/ps#0.1.0", &[]),
            json!({"reason": "build-finished", "success": true}).to_string(),
            "no JSON".to_owned(),
        ];
        let messages = of(lines.join("\n").as_bytes());
        let remarks: Vec<_> = messages
            .iter()
            .filter_map(|message| Some((message.package(), message.remark()?)))
            .collect();
        assert_eq!(
            remarks,
            [
                ("ps", "warning"),
                ("routes", "error"),
                ("kernel", "error: internal compiler error"),
            ]
        );
    }

    #[test]
    fn programs_are_artifacts() {
        let artifact = |kind: &str| {
            let target = json!({"name": "ps", "kind": [kind]});
            json!({"reason": "compiler-artifact", "target": target}).to_string()
        };
        let messages = of([artifact("lib"), artifact("bin")].join("\n").as_bytes());
        let programs: Vec<_> = messages.iter().map(Message::program).collect();
        assert_eq!(programs, [None, Some("ps")]);
        assert!(messages.iter().all(Message::is_compiled));
        let target = json!({"name": "ps", "kind": ["bin"]});
        let fresh = json!({"reason": "compiler-artifact", "target": target, "fresh": true});
        let fresh = Message::of(&fresh.to_string()).expect("it is a message");
        assert_eq!((fresh.program(), fresh.is_compiled()), (Some("ps"), false));
    }

    #[test]
    fn people_read_all_but_sums() {
        let text = |level: &str, spans: &[Value]| {
            let said = message(level, "path+file:///x/analyzers/ps#0.1.0", spans);
            let said = Message::of(&said).expect("it is a message");
            said.text().map(str::to_owned)
        };
        let place = [json!({})];
        for (level, spans) in [("warning", &place[..]), ("error", &place), ("error", &[])] {
            assert_eq!(text(level, spans).as_deref(), Some(level));
        }
        assert_eq!(text("warning", &[]), None);
        assert_eq!(text("error: aborting due to 2 previous errors", &[]), None);
    }
}
