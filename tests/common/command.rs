//! Running a program with a time limit.

use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What a program did.
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub elapsed: Duration,
    line: String,
}

impl Ran {
    /// Its standard output, as far as it is text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard error, as far as it is text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Its exit status; a signal counts as 128 and its number, as in a shell.
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Itself, where it ended with status 0; fails the test with all it said otherwise.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.ends_with(0)
    }

    /// Itself, where it ended with `code`; fails the test with all it said otherwise.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert!(self.code() == code, "status {code} was expected:\n{self}");
        self
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\nended with {} after {:.1} s\n{}{}",
            self.line,
            self.code(),
            self.elapsed.as_secs_f64(),
            self.text(),
            self.errors()
        )
    }
}

/// Runs `command` without standard input; ends it and fails the test when it takes
/// longer than `limit`.
#[track_caller]
pub fn run(command: &mut Command, limit: Duration) -> Ran {
    let line = format!("{command:?}");
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, began + limit);
    let ended = Ran {
        status: status.unwrap_or_else(|| kill(&mut child)),
        stdout: stdout.join().expect("reading does not panic"),
        stderr: stderr.join().expect("reading does not panic"),
        elapsed: began.elapsed(),
        line,
    };
    assert!(status.is_some(), "{} s are up:\n{ended}", limit.as_secs());
    ended
}

/// Runs `command`, types `answer` as soon as it says `prompt`, and gives all that it said when it has ended; ends it and
/// fails the test when it takes longer than `limit`.
#[track_caller]
pub fn converse(command: &mut Command, prompt: &str, answer: &str, limit: Duration) -> String {
    let line = format!("{command:?}");
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
    let mut stdin = child.stdin.take();
    let mut stdout = child.stdout.take().expect("it is piped");
    let (said, heard) = mpsc::channel();
    let listener = thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut piece) {
            if said.send(piece[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut bytes = Vec::new();
    let ended = loop {
        match heard.recv_timeout((began + limit).saturating_duration_since(Instant::now())) {
            Ok(piece) => bytes.extend(piece),
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
        if String::from_utf8_lossy(&bytes).contains(prompt)
            && let Some(mut stdin) = stdin.take()
        {
            stdin.write_all(answer.as_bytes()).expect("it listens");
        }
    };
    let _ = if ended { child.wait().expect("the child is ours") } else { kill(&mut child) };
    listener.join().expect("listening does not panic");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(ended, "{} s are up for {line}:\n{text}", limit.as_secs());
    text
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read until an error is still worth showing.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn kill(child: &mut Child) -> ExitStatus {
    let _ = child.kill();
    child.wait().expect("the child is ours")
}
