//! A line as words.

/// Commands whose rest of the line is C, which has quotes and spaces of its own.
const EXPRESSIONS: [&str; 3] = ["print", "p", "ptype"];

/// The words of a line: quotes keep spaces, a backslash keeps what follows it. What follows `print` is left as it is.
pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if EXPRESSIONS.contains(&first) {
        let mut words = vec![first.to_owned()];
        let mut rest = rest.trim();
        if let Some(before) = rest.strip_suffix("--json") {
            words.push("--json".to_owned());
            rest = before.trim_end();
        }
        // `print/x`, and options, which are words.
        while rest.starts_with('/') || rest.starts_with("-f") || rest.starts_with("--") || rest == "-h" {
            let (word, more) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            words.push(word.to_owned());
            rest = more.trim_start();
        }
        words.extend((!rest.is_empty()).then(|| rest.to_owned()));
        return Ok(words);
    }
    if let Some((command, format)) = first.split_once('/')
        && EXPRESSIONS.contains(&command)
    {
        return split(&format!("{command} /{format} {rest}"));
    }
    let mut words = Vec::new();
    let (mut word, mut quote) = (None::<String>, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(letters.next()),
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).expect("its quotes are closed")
    }

    #[test]
    fn quotes_keep_spaces() {
        assert_eq!(words("list  'a b' \"c \\\" d\" e\\ f ''"), ["list", "a b", "c \" d", "e f", ""]);
        assert!(split("sym 'a").is_err());
        assert_eq!(words(""), [] as [&str; 0]);
    }

    #[test]
    fn expressions_are_left_as_they_are() {
        assert_eq!(words("p 'kern_malloc.c'::kmemcount + 'x'"), ["p", "'kern_malloc.c'::kmemcount + 'x'"]);
        assert_eq!(words("print/x  a + b"), ["print", "/x", "a + b"]);
        assert_eq!(words("p /x -1 --json"), ["p", "--json", "/x", "-1"]);
        assert_eq!(words("p -1"), ["p", "-1"]);
    }
}
