//! Errors of Lua as one sentence with the place in the script.

use mlua::Error;

/// What went wrong, after the name and line of the script where that is known.
pub(super) fn sentence(error: &Error) -> String {
    match error {
        Error::CallbackError { traceback, cause } => {
            let text = sentence(cause);
            match place(traceback) {
                Some(place) if !is_placed(&text) => format!("{place} {text}"),
                _ => text,
            }
        }
        Error::RuntimeError(text) => without_traceback(text).to_owned(),
        Error::SyntaxError { message, .. } => without_traceback(message).to_owned(),
        Error::MemoryError(_) => "the script takes more memory than it may: --max-memory allows more".to_owned(),
        Error::BadArgument { pos, cause, .. } => format!("argument {pos}: {}", sentence(cause)),
        Error::FromLuaConversionError { from, to, message } => match message {
            Some(message) => format!("a {from} was given where {} is expected: {message}", plain(to)),
            None => format!("a {from} was given where {} is expected", plain(to)),
        },
        Error::WithContext { context, cause } => format!("{context}: {}", sentence(cause)),
        Error::ExternalError(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// A type of Rust as Lua calls it.
fn plain(name: &str) -> &str {
    match name {
        "String" | "LuaString" | "&str" => "a string",
        "Table" | "table" => "a table",
        "i64" | "u64" | "usize" | "i128" | "integer" => "an integer",
        "Function" | "function" => "a function",
        name => name,
    }
}

fn without_traceback(text: &str) -> &str {
    text.split("\nstack traceback:").next().unwrap_or(text).trim_end()
}

/// The innermost line of a script in a traceback: `msgbuf.lua:12:`.
fn place(traceback: &str) -> Option<&str> {
    traceback.lines().map(str::trim).find_map(|line| {
        if line.starts_with('[') {
            return None;
        }
        let (place, _) = line.split_once(": in ")?;
        let (_, number) = place.rsplit_once(':')?;
        number.parse::<u32>().ok().and_then(|_| line.get(..place.len() + 1))
    })
}

/// Whether a text begins with a place already.
fn is_placed(text: &str) -> bool {
    let mut parts = text.splitn(3, ':');
    let (file, line) = (parts.next(), parts.next());
    file.is_some_and(|file| !file.contains(' ')) && line.is_some_and(|line| line.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_the_innermost_line_of_a_script() {
        let traceback = "stack traceback:\n\t[C]: in ?\n\t[tine]:3: in function 'list'\n\ta b.lua:7: in main chunk\n";
        assert_eq!(place(traceback), Some("a b.lua:7:"));
        assert_eq!(place("stack traceback:\n\t[C]: in ?"), None);
    }

    #[test]
    fn a_place_is_told_once() {
        assert!(is_placed("x.lua:3: no such thing"));
        assert!(!is_placed("cannot read memory at 0x3: not in the dump"));
    }
}
