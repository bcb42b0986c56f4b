//! Changes of mode as chmod(1) writes them: octal, or a list such as `u=rwX,go=rX`.

use crate::error::Error;

/// A change of permission bits, octal or symbolic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModeChange {
    clauses: Vec<Clause>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Clause {
    /// The bits that belong to those the clause speaks of, set-ID and sticky bits included.
    who: u16,
    operator: Operator,
    permissions: Permissions,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Permissions {
    /// Fixed bits; with `search`, execution as well for directories and for what somebody may execute already.
    Bits { bits: u16, search: bool },
    /// A copy of what the user (6), group (3) or others (0) have, by the shift of their bits.
    Copy(u32),
}

const USER: u16 = 0o4700;
const GROUP: u16 = 0o2070;
const OTHER: u16 = 0o1007;
const ALL: u16 = 0o7777;

impl ModeChange {
    /// Reads an octal mode or a list of clauses `[ugoa...][+-=][rwxXst...|u|g|o]` separated by commas.
    /// Without `u`, `g`, `o` or `a` a clause means all; no umask is applied.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] says what is not understood.
    pub fn parse(text: &str) -> Result<ModeChange, Error> {
        let bad = |why| Error::BadOption { what: "mode", text: text.to_string(), why };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
            let mode = u16::from_str_radix(text, 8).ok().filter(|&mode| octal && mode <= ALL);
            let bits = mode.ok_or(bad("an octal mode is at most 7777"))?;
            let permissions = Permissions::Bits { bits, search: false };
            return Ok(ModeChange { clauses: vec![Clause { who: ALL, operator: Operator::Set, permissions }] });
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            parse_part(part.as_bytes(), &mut clauses).map_err(bad)?;
        }
        Ok(ModeChange { clauses })
    }

    /// The mode that `mode` (within 07777) becomes.
    pub fn apply(&self, mode: u16, directory: bool) -> u16 {
        self.clauses.iter().fold(mode, |mode, clause| clause.apply(mode, directory))
    }
}

impl Clause {
    fn apply(self, mode: u16, directory: bool) -> u16 {
        let bits = match self.permissions {
            Permissions::Bits { bits, search } => {
                let execute = search && (directory || mode & 0o111 != 0);
                bits | if execute { 0o111 } else { 0 }
            }
            Permissions::Copy(shift) => ((mode >> shift) & 7) * 0o111,
        };
        match self.operator {
            Operator::Add => mode | (bits & self.who),
            Operator::Remove => mode & !(bits & self.who),
            Operator::Set => (mode & !self.who) | (bits & self.who),
        }
    }
}

/// One part between commas: who, then one or more operators each with its permissions.
fn parse_part(part: &[u8], clauses: &mut Vec<Clause>) -> Result<(), &'static str> {
    let named = part.iter().take_while(|byte| b"ugoa".contains(byte)).count();
    let who = part[..named].iter().fold(0, |who, byte| {
        who | match byte {
            b'u' => USER,
            b'g' => GROUP,
            b'o' => OTHER,
            _ => ALL,
        }
    });
    let who = if named == 0 { ALL } else { who };
    let mut rest = &part[named..];
    if rest.is_empty() {
        return Err("write an octal number or clauses such as u=rwX,go=rX");
    }
    while let Some((&sign, after)) = rest.split_first() {
        let operator = match sign {
            b'+' => Operator::Add,
            b'-' => Operator::Remove,
            b'=' => Operator::Set,
            _ => return Err("expected +, - or = after the letters u, g, o and a"),
        };
        let length = after.iter().take_while(|byte| !b"+-=".contains(byte)).count();
        clauses.push(Clause { who, operator, permissions: parse_permissions(&after[..length])? });
        rest = &after[length..];
    }
    Ok(())
}

fn parse_permissions(letters: &[u8]) -> Result<Permissions, &'static str> {
    match letters {
        b"u" => return Ok(Permissions::Copy(6)),
        b"g" => return Ok(Permissions::Copy(3)),
        b"o" => return Ok(Permissions::Copy(0)),
        _ => {}
    }
    let (mut bits, mut search) = (0, false);
    for letter in letters {
        bits |= match letter {
            b'r' => 0o444,
            b'w' => 0o222,
            b'x' => 0o111,
            b's' => 0o6000,
            b't' => 0o1000,
            b'X' => {
                search = true;
                0
            }
            _ => {
                return Err("permissions are the letters r, w, x, X, s and t, or one of u, g and o");
            }
        };
    }
    Ok(Permissions::Bits { bits, search })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str, mode: u16, directory: bool) -> u16 {
        ModeChange::parse(text).unwrap().apply(mode, directory)
    }

    #[test]
    fn octal_modes_replace_everything() {
        assert_eq!(change("0644", 0o7777, false), 0o644);
        assert_eq!(change("4755", 0, false), 0o4755);
    }

    #[test]
    fn capital_x_gives_search_to_directories_and_keeps_execution() {
        assert_eq!(change("u=rwX,go=rX", 0o600, false), 0o644);
        assert_eq!(change("u=rwX,go=rX", 0o700, false), 0o755);
        assert_eq!(change("u=rwX,go=rX", 0o600, true), 0o755);
    }

    #[test]
    fn clauses_add_remove_and_copy() {
        assert_eq!(change("go-w", 0o666, false), 0o644);
        assert_eq!(change("+x", 0o644, false), 0o755);
        assert_eq!(change("g=u", 0o640, false), 0o660);
        assert_eq!(change("u+s,o+t", 0o755, true), 0o5755);
        assert_eq!(change("a=", 0o7777, false), 0);
        assert_eq!(change("u=rw-x+s", 0o100, false), 0o4600);
    }

    #[test]
    fn a_set_clause_clears_only_the_special_bit_of_those_it_names() {
        assert_eq!(change("u=rwx", 0o6644, false), 0o2744);
        assert_eq!(change("o=r", 0o1777, true), 0o774);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "u", "u=q", "8", "77777", "u=rw,,", "rwx", "0x1", "=+z"] {
            assert!(ModeChange::parse(text).is_err(), "{text:?}");
        }
    }
}
