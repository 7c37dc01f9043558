//! A client of the QEMU Machine Protocol over a Unix socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// The longest that a command may take; a dump of half a gigabyte takes seconds.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A connection that has been through the greeting.
pub struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Qmp {
    pub fn connect(socket: &Path) -> Result<Self> {
        let writer = UnixStream::connect(socket)
            .with_context(|| format!("can't connect to {}", socket.display()))?;
        writer.set_read_timeout(Some(TIMEOUT))?;
        let mut reader = BufReader::new(writer.try_clone()?);
        let mut greeting = String::new();
        reader.read_line(&mut greeting)?;
        if !greeting.contains("\"QMP\"") {
            bail!("QEMU did not greet, but said {greeting:?}");
        }
        let mut qmp = Self { reader, writer };
        qmp.execute("qmp_capabilities", None)?;
        Ok(qmp)
    }

    /// Executes one command and returns its result.
    pub fn execute(&mut self, command: &str, arguments: Option<Value>) -> Result<Value> {
        let mut request = json!({ "execute": command });
        if let Some(arguments) = arguments {
            request["arguments"] = arguments;
        }
        self.writer
            .write_all(format!("{request}\n").as_bytes())
            .with_context(|| format!("can't send {command} to QEMU"))?;
        loop {
            let mut line = String::new();
            let read = self
                .reader
                .read_line(&mut line)
                .with_context(|| format!("no answer to {command} from QEMU"))?;
            if read == 0 {
                bail!("QEMU ended during {command}");
            }
            match answer(&line)? {
                Answer::Event => {}
                Answer::Return(value) => return Ok(value),
                Answer::Error(text) => bail!("QEMU refuses {command}: {text}"),
            }
        }
    }

    /// Executes a command of the human monitor and returns its text.
    pub fn human(&mut self, command: &str) -> Result<String> {
        let value = self.execute(
            "human-monitor-command",
            Some(json!({ "command-line": command })),
        )?;
        Ok(value.as_str().unwrap_or_default().replace("\r\n", "\n"))
    }
}

#[derive(Debug, PartialEq)]
enum Answer {
    Event,
    Return(Value),
    Error(String),
}

/// Events come at any time between a command and its answer.
fn answer(line: &str) -> Result<Answer> {
    let mut message: Value = serde_json::from_str(line)
        .with_context(|| format!("QEMU's answer is not JSON: {line:?}"))?;
    if let Some(value) = message.get_mut("return") {
        return Ok(Answer::Return(value.take()));
    }
    if let Some(error) = message.get("error") {
        return Ok(Answer::Error(
            error["desc"].as_str().unwrap_or("without a reason").into(),
        ));
    }
    if message.get("event").is_some() {
        return Ok(Answer::Event);
    }
    bail!("QEMU's answer is none: {line:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_events() {
        assert_eq!(
            answer(r#"{"return": {"running": false}}"#).unwrap(),
            Answer::Return(json!({ "running": false }))
        );
        assert_eq!(
            answer(r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#).unwrap(),
            Answer::Event
        );
        assert_eq!(
            answer(r#"{"error": {"class": "GenericError", "desc": "no such command"}}"#).unwrap(),
            Answer::Error("no such command".into())
        );
        assert!(answer("{}").is_err());
        assert!(answer("LAB READY").is_err());
    }

    #[test]
    fn a_conversation() {
        let folder = std::env::temp_dir().join(format!("kstruct-qmp-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("qmp");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            stream.write_all(b"{\"QMP\": {}}\n").unwrap();
            for reply in [
                "{\"return\": {}}\n",
                "{\"event\": \"STOP\"}\n{\"return\": 7}\n",
                "{\"error\": {\"desc\": \"busy\"}}\n",
            ] {
                reader.read_line(&mut String::new()).unwrap();
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        let mut qmp = Qmp::connect(&socket).unwrap();
        assert_eq!(qmp.execute("stop", None).unwrap(), json!(7));
        assert_eq!(
            qmp.execute("cont", None).unwrap_err().to_string(),
            "QEMU refuses cont: busy"
        );
        server.join().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
