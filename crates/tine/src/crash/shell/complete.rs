//! What Tab offers: commands, symbols, types, and fields of the value before a dot or an arrow.

use symbols::{Program, Type, TypeKind};

/// More than these are of no help.
const MOST: usize = 2000;

/// Where the last word of a line begins, and what it can be completed to.
pub(super) fn complete(program: &Program, commands: &[String], line: &str) -> (usize, Vec<String>) {
    let Some((command, rest)) = line.split_once(char::is_whitespace) else {
        return (0, commands.iter().filter(|name| name.starts_with(line)).cloned().collect());
    };
    if command == "help" {
        let start = line.len() - rest.trim_start().len();
        return (start, commands.iter().filter(|name| name.starts_with(rest.trim_start())).cloned().collect());
    }
    let start =
        line.rfind(|c: char| !is_part(c)).map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
    let (before, name) = line.split_at(start);
    let object = before.strip_suffix("->").or_else(|| before.strip_suffix('.'));
    let mut found = match object {
        Some(object) => fields(program, object).into_iter().filter(|field| field.starts_with(name)).collect(),
        None => names(program, before, name),
    };
    // `list HEAD FIELD ...`: fields of the elements.
    if let (true, "list", [head, .., _]) = (object.is_none(), command, words(rest).as_slice()) {
        found = elements(program, head).into_iter().filter(|field| field.starts_with(name)).collect();
    }
    found.truncate(MOST);
    (start, found)
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The words of a line, the one that is begun among them, be it empty.
fn words(rest: &str) -> Vec<&str> {
    rest.trim_start().split(' ').collect()
}

/// Symbols, or types after `struct`, `union` and `enum`.
fn names(program: &Program, before: &str, name: &str) -> Vec<String> {
    let keyword = before.trim_end().rsplit(|c: char| !is_part(c)).next().unwrap_or_default();
    if matches!(keyword, "struct" | "union" | "enum") && before.ends_with(' ') {
        let prefix = format!("{keyword} ");
        let all = program.names(name, true);
        return all.iter().filter_map(|full| full.strip_prefix(&prefix)).map(str::to_owned).collect();
    }
    // All symbols of a kernel are too many to offer.
    if name.is_empty() { Vec::new() } else { program.names(name, false) }
}

/// The fields of the value that an expression ends with: `a.b[0]->c`.
fn fields(program: &Program, text: &str) -> Vec<String> {
    let mut depth = 0;
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        match c {
            ']' | ')' => depth += 1,
            '[' | '(' if depth > 0 => depth -= 1,
            // The arrow of a field.
            '>' if text[..at].ends_with('-') => {}
            '-' if text[at..].starts_with("->") => {}
            c if depth > 0 || is_part(c) || c == '.' => {}
            _ => break,
        }
        start = at;
    }
    // In Lua the kernel's variables have a table before them.
    let object = text[start..].trim_start_matches("kernel.");
    let ty = program
        .type_of_expression(&object.replace("->", "."), &())
        .or_else(|_| program.type_of_expression(object, &()));
    ty.map(|ty| members(&ty)).unwrap_or_default()
}

/// The fields of the elements of a list or tree.
fn elements(program: &Program, head: &str) -> Vec<String> {
    let of = || {
        let head = program.evaluate(head, &()).ok()?;
        let firsts = ["slh_first", "stqh_first", "lh_first", "tqh_first", "rbh_root"];
        let first = firsts.iter().find_map(|name| head.field(name).ok())?;
        Some(members(first.ty()))
    };
    of().unwrap_or_default()
}

/// The fields of a structure, or of what a pointer points to.
fn members(ty: &Type) -> Vec<String> {
    fn gather(ty: &Type, depth: u32, names: &mut Vec<String>) {
        let Ok(ty) = ty.resolved() else { return };
        let ty = match ty.kind() {
            TypeKind::Pointer => match ty.target().and_then(|ty| ty.resolved()) {
                Ok(target) => target,
                Err(_) => return,
            },
            _ => ty,
        };
        for field in ty.fields().unwrap_or_default() {
            match field.name.is_empty() {
                true if depth < 16 => gather(&field.ty, depth + 1, names),
                true => {}
                false => names.push(field.name),
            }
        }
    }
    let mut names = Vec::new();
    gather(ty, 0, &mut names);
    names.sort();
    names
}
