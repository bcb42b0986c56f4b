//! The report as a page, in a browser; the shell; and the reports of the tests' kernel as they have to be, word by word.
//!
//! `TINE_WRITE_GOLDEN=1 cargo test --test crash_ui` writes the latter anew, to be looked at before they are kept.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::command::{self, Ran};
use common::peer::{self, Peer};

#[path = "../crates/crash/tests/support/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "another test uses the rest of it")]
mod support;

use support::{Forged, machine};

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);

/// The forged dump, or nothing, which is told.
fn forged(test: &str, flags: &[&str]) -> Option<Forged> {
    let forged = support::forge(flags);
    if forged.is_none() {
        peer::say(test, "the kernel of the tests is compiled on Linux and amd64 only");
    }
    forged
}

fn crash(forged: &Forged, arguments: &[&str]) -> Ran {
    let sources = common::project().join("crates/crash/tests/support");
    let mut command = Command::new(TINE);
    command.arg("crash").arg("-s").arg(sources).arg("-k").arg(forged.kernel()).arg(forged.dump()).args(arguments);
    command::run(&mut command, LIMIT)
}

/// What the shell says to some lines, without a terminal.
fn shell(forged: &Forged, lines: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let input = folder.path().join("lines");
    std::fs::write(&input, lines).expect("it can be written");
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!(
        "exec {TINE} crash -k '{}' '{}' shell < '{}'",
        forged.kernel().display(),
        forged.dump().display(),
        input.display()
    ));
    let ran = command::run(&mut command, LIMIT);
    (ran.code(), ran.text(), ran.errors())
}

/// What a page says of itself after a script was run in a browser.
fn browsed(browser: &Peer, page: &Path, options: &[&str], script: &str) -> String {
    let html = std::fs::read_to_string(page).expect("there is a page");
    // The page's own policy lets no other script run, such as this one.
    let (before, after) = html.split_once("<meta http-equiv=\"Content-Security-Policy\"").expect("it has a policy");
    let (_, after) = after.split_once('>').expect("it ends");
    let opened = page.with_extension("opened.html");
    let html = format!("{before}{after}").replace("</body>", &format!("<script>{script}</script></body>"));
    std::fs::write(&opened, html).expect("it can be written");
    let text = opens(browser, &opened, options);
    let (_, told) = text.split_once("<pre id=\"told\">").unwrap_or_else(|| panic!("nothing was told:\n{text}"));
    told.split_once("</pre>").map(|(told, _)| told.to_owned()).expect("it ends")
}

/// A page after a browser has opened it.
fn opens(browser: &Peer, page: &Path, options: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = browser.command();
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,900", "--virtual-time-budget=3000"])
        .args(options)
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", page.display()))
        .env("HOME", folder.path());
    command::run(&mut command, LIMIT).succeeds().text()
}

/// What begins every script: a list of what is told, and a way to type into the search box.
const BEGIN: &str = r#"
const told = [];
const all = selector => [...document.querySelectorAll(selector)];
const shown = selector => all(selector).filter(thing => thing.checkVisibility()).length;
const type = text => { const box = document.getElementById("search"); box.value = text; box.dispatchEvent(new Event("input")); };
"#;
const END: &str = r#"
const pre = document.createElement("pre");
pre.id = "told";
pre.textContent = told.join("\n");
document.body.append(pre);
"#;

#[test]
fn the_page_folds_and_is_searched_in_a_browser() {
    let test = "the_page_folds_and_is_searched_in_a_browser";
    let (Some(browser), Some(forged)) = (Peer::find(test, "chromium"), forged(test, &[])) else { return };
    let page = forged.dump().with_file_name("report.html");
    crash(&forged, &["report", "--html", "-o", &page.display().to_string()]).succeeds();
    let script = r#"
told.push(document.querySelector("h1").textContent);
told.push("open " + all("details.frame[open]").length + " source " + shown(".source mark"));
document.getElementById("fold").click();
told.push("folded " + shown(".frames") + " " + all("main details[open]").length);
document.getElementById("unfold").click();
told.push("unfolded " + (shown(".frames") > 1) + " " + (shown(".arguments") > 0));
type("waiter");
told.push(document.getElementById("found").textContent, "threads " + shown("tr.thread") + " processes " + shown("tr.process"));
type("starting");
told.push(document.getElementById("found").textContent, "lines " + shown(".messages span"));
type("no such thing");
told.push(document.getElementById("found").textContent, "rows " + shown("tbody tr"));
type("");
told.push("threads " + all("tr.thread:not(.miss)").length, "unread " + all(".messages .unread").map(line => line.textContent).join());
all(".section").forEach(section => { section.open = false; });
all("nav .links a").find(link => link.textContent === "Processes").click();
told.push("linked " + (shown("tr.process") > 0));
told.push("wide " + (document.documentElement.scrollWidth <= window.innerWidth));
"#;
    let told = browsed(&browser, &page, &[], &[BEGIN, script, END].concat());
    assert_eq!(
        told,
        "panic page fault\nopen 1 source 1\nfolded 0 0\nunfolded true true\n\
         5 found\nthreads 1 processes 1\n1 found\nlines 1\n0 found\nrows 0\nthreads 4\nunread panic: page fault\n\
         linked true\nwide true"
    );
}

#[test]
fn the_page_is_dark_where_the_browser_is() {
    let test = "the_page_is_dark_where_the_browser_is";
    let (Some(browser), Some(forged)) = (Peer::find(test, "chromium"), forged(test, &[])) else { return };
    let page = forged.dump().with_file_name("report.html");
    crash(&forged, &["report", "--html", "-o", &page.display().to_string()]).succeeds();
    let script = "told.push(getComputedStyle(document.body).backgroundColor);";
    let ground = |scheme: &str| {
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        browsed(&browser, &page, &[&scheme], &[BEGIN, script, END].concat())
    };
    assert_eq!((ground("0").as_str(), ground("1").as_str()), ("rgb(21, 24, 28)", "rgb(255, 255, 255)"));
}

#[test]
fn what_a_dump_says_stays_text_on_the_page() {
    let test = "what_a_dump_says_stays_text_on_the_page";
    let hostile = "</title></h1><script>document.title='taken'</script><img src=x onerror=alert(1)>&amp;";
    let Some(forged) = forged(test, &[&format!("-DPANIC=\"{hostile}\"")]) else { return };
    let html = crash(&forged, &["report", "--html"]).succeeds().text();
    assert!(html.contains("&lt;script&gt;document.title=&#39;taken&#39;&lt;/script&gt;"));
    assert!(!html.contains("<script>document") && !html.contains("<img"));
    // Nothing is fetched, and the policy would not let it be.
    assert!(html.contains("default-src 'none'") && !html.contains("http://") && !html.contains("https://"));
    assert_eq!((html.matches("<script").count(), html.matches("<style").count()), (1, 1));
    let Some(browser) = Peer::find(test, "chromium") else { return };
    let page = forged.dump().with_file_name("report.html");
    // As it is, policy and all.
    std::fs::write(&page, &html).expect("it can be written");
    let opened = opens(&browser, &page, &[]);
    assert!(opened.contains("<title>panic: &lt;/title&gt;"), "{}", opened.get(..800).unwrap_or_default());
}

#[test]
fn a_page_is_not_written_over_what_is_there_unless_asked() {
    let Some(forged) = forged("a_page_is_not_written_over_what_is_there_unless_asked", &[]) else { return };
    let page: PathBuf = forged.dump().with_file_name("report.html");
    std::fs::write(&page, "mine").expect("it can be written");
    let name = page.display().to_string();
    assert!(crash(&forged, &["report", "--html", "-o", &name]).ends_with(3).errors().contains("exists"));
    crash(&forged, &["report", "--html", "-o", &name, "--replace"]).succeeds();
    assert!(std::fs::read_to_string(&page).expect("there is a page").starts_with("<!DOCTYPE html>"));
    crash(&forged, &["report", "-o", &name]).ends_with(2);
}

#[test]
fn the_shell_runs_all_commands_as_lines() {
    let Some(forged) = forged("the_shell_runs_all_commands_as_lines", &[]) else { return };
    let lines = "# a comment\n\nprint doomed.p_pid\np/x doomed.p_pid + 1\nlist allproc p_list p_pid\nmsgbuf --unread\n\
                 sym panic --json\nlua x = 3\nlua x + kernel.doomed.p_pid\nlua print('a', \"b\")\nquit\nprint 1\n";
    let (code, said, errors) = shell(&forged, lines);
    assert_eq!((code, errors.as_str()), (0, ""), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(&lines[..2], ["27", "0x1c"]);
    assert!(lines[2].ends_with("p_pid = 27") && lines[4].ends_with("p_pid = 0"), "{said}");
    assert_eq!(lines[5], "panic: page fault");
    assert!(said.contains("\"name\": \"panic\""));
    assert!(said.ends_with("30\na\tb\n"), "{said}");
}

#[test]
fn a_line_that_fails_does_not_end_the_shell() {
    let Some(forged) = forged("a_line_that_fails_does_not_end_the_shell", &[]) else { return };
    let (code, said, errors) =
        shell(&forged, "print nothing_here\nfoo\nps --nonsense\nsym 'a\nlua error('so')\nlua while\nshell\nprint 27\n");
    assert_eq!((code, said.as_str()), (1, "27\n"));
    let errors: Vec<&str> = errors.lines().collect();
    for expected in [
        "nothing_here",
        "unrecognized subcommand 'foo'",
        "unexpected argument '--nonsense'",
        "a quote is not closed",
        "line:1: so",
        "line:1: unexpected symbol",
        "this is the shell",
    ] {
        assert!(errors.iter().any(|line| line.contains(expected)), "{expected}: {errors:?}");
    }
    assert_eq!(errors.len(), 7, "{errors:?}");
}

#[test]
fn help_lists_every_command() {
    let Some(forged) = forged("help_lists_every_command", &[]) else { return };
    let (_, said, _) = shell(&forged, "help\nhelp list\nhelp nothing\n");
    for name in [
        "report", "bt", "threads", "ps", "msgbuf", "modules", "print", "ptype", "sym", "list", "mem", "source", "lua",
        "quit",
    ] {
        assert!(said.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}:\n{said}");
    }
    assert!(said.contains("The head: an expression such as `allproc`"), "{said}");
}

/// A session in a terminal: Tab completes, Ctrl-C ends a command and not the shell, lines are remembered.
#[test]
fn a_terminal_has_completion_history_and_ctrl_c() {
    let test = "a_terminal_has_completion_history_and_ctrl_c";
    let (Some(python), Some(forged)) = (Peer::find(test, "python3"), forged(test, &[])) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = python.command();
    command.arg("-").args([TINE, "crash", "-k"]).arg(forged.kernel()).arg(forged.dump()).arg("shell");
    command.env("XDG_STATE_HOME", folder.path()).env("TERM", "xterm").stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("python starts");
    child.stdin.take().expect("it has input").write_all(TERMINAL.as_bytes()).expect("it reads");
    let done = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    let history = std::fs::read_to_string(folder.path().join("tine/crash_history")).expect("there is a history");
    assert!(history.contains("print doomed.p_pid") && history.contains("lua while true do end"), "{history}");
}

/// Plays somebody at a terminal; it ends with status 0 if all that is expected appears within half a minute each. Results
/// are waited for with the end of their line: the cursor may be moved by 27 columns, too.
const TERMINAL: &str = r#"
import os, pty, select, signal, sys, time
signal.alarm(120)
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
def expect(text):
    global seen
    end = time.time() + 30
    while text not in seen:
        if time.time() > end or not select.select([terminal], [], [], 30)[0]:
            sys.exit("%r was expected after %r" % (text, seen))
        try:
            seen += os.read(terminal, 4096)
        except OSError:
            sys.exit("the shell ended before %r: %r" % (text, seen))
    seen = seen.split(text, 1)[1]
def say(text):
    os.write(terminal, text)
expect(b"tine> ")
say(b"print doomed.p_pi\t\r")
expect(b"27\r\n")
expect(b"tine> ")
say(b"print kern_reb\t\r")
expect(b"kern_reboot")
expect(b"tine> ")
say(b"lua while true do end\r")
time.sleep(1)
say(b"\x03")
expect(b"interrupted")
expect(b"tine> ")
say(b"\x03")
expect(b"tine> ")
say(b"\x1b[A\x1b[A\x1b[A\r")
expect(b"27\r\n")
expect(b"tine> ")
say(b"\x04")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// Compares with a file of `tests/golden`, or writes it.
fn is_golden(name: &str, text: &str) {
    let path = common::project().join("tests/golden").join(name);
    if std::env::var_os("TINE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("it can be written");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (ours, theirs)) in text.lines().zip(known.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {} of {name}", number + 1);
    }
    assert_eq!(text.lines().count(), known.lines().count(), "lines of {name}");
}

/// A report without what differs from compiler to compiler and from place to place: addresses, lines, offsets, folders.
fn steady(text: &str, forged: &Forged) -> String {
    let folder = forged.kernel().parent().expect("it is in a folder").display().to_string();
    let support = common::project().join("crates/crash/tests/support").display().to_string();
    let text = text.replace(&folder, "DUMP").replace(&support, "SOURCE");
    let mut steady = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("0x") {
        let (before, after) = rest.split_at(at + 2);
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
        steady += before;
        steady += if digits > 2 { "ADDRESS" } else { &after[..digits] };
        rest = &after[digits..];
    }
    steady += rest;
    let lines = steady.lines().map(|line| {
        let line = match line.find("kernel.c:") {
            Some(at) => {
                let (before, after) = line.split_at(at + "kernel.c:".len());
                format!("{before}N{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
            None => line.to_owned(),
        };
        match line.trim_start().split_once(": ") {
            Some(("\"line\"" | "\"offset\"", number)) if number != "null," => {
                format!("{}: N,", line.split(": ").next().unwrap_or_default())
            }
            _ => line,
        }
    });
    lines.map(|line| line + "\n").collect()
}

#[test]
fn the_reports_are_as_they_have_to_be() {
    let test = "the_reports_are_as_they_have_to_be";
    for (machine, name) in [(&machine::AMD64, "crash-report"), (&machine::ARM64, "crash-report-arm64")] {
        let Some(forged) = support::forge_for(machine, &[], 0) else {
            peer::skip(test, machine.missing());
            continue;
        };
        let run = |arguments: &[&str]| {
            let mut command = Command::new(TINE);
            command.arg("crash").arg("-k").arg(forged.kernel()).arg(forged.dump()).args(arguments);
            steady(&command::run(&mut command, LIMIT).succeeds().text(), &forged)
        };
        is_golden(&format!("{name}.txt"), &run(&["report"]));
        is_golden(&format!("{name}.json"), &run(&["report", "--json"]));
        let html = run(&["report", "--html"]);
        // Style, script and their hashes are files of their own.
        let (_, body) = html.split_once("<body>").expect("it has a body");
        let (body, _) = body.split_once("<script>").expect("it has a script");
        is_golden(&format!("{name}.html"), body);
    }
}
