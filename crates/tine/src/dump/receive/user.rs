//! Another user, when what needs privileges is done.

use nix::unistd::{Gid, Group, Uid, User, getuid, setgid, setuid};

use crate::failure::Failure;

/// Who to become.
pub(super) struct Other {
    name: String,
    user: Uid,
    group: Gid,
}

/// Finds `USER` or `USER:GROUP`, by names or numbers.
pub(super) fn find(text: &str) -> Result<Other, Failure> {
    let unknown = |what: &str, name: &str| Failure::Usage(format!("--user {text}: there is no {what} {name}"));
    let (name, group_name) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let found = |error| Failure::work(format_args!("cannot look up {text}"), error);
    let user = match name.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(name),
    };
    let user = user.map_err(found)?.ok_or_else(|| unknown("user", name))?;
    let group = match group_name {
        None => user.gid,
        Some(name) => match name.parse() {
            Ok(number) => Gid::from_raw(number),
            Err(_) => Group::from_name(name).map_err(found)?.ok_or_else(|| unknown("group", name))?.gid,
        },
    };
    Ok(Other { name: user.name, user: user.uid, group })
}

impl Other {
    /// Becomes that user, for good.
    pub(super) fn become_it(&self) -> Result<(), Failure> {
        let failed = |error| Failure::work(format_args!("cannot become the user {}", self.name), error);
        if getuid() == self.user {
            return Ok(());
        }
        // What the user before was in, too; macOS has no call for it that a program of threads may make.
        #[cfg(not(target_vendor = "apple"))]
        nix::unistd::setgroups(&[self.group]).map_err(failed)?;
        setgid(self.group).and_then(|()| setuid(self.user)).map_err(failed)?;
        if !self.user.is_root() && setuid(Uid::from_raw(0)).is_ok() {
            return Err(Failure::Work("privileges could not be dropped for good".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name_or_number() {
        let root = find("root").expect("root is everywhere");
        assert!(root.user.is_root());
        let other = find("0:7").expect("root has a number");
        assert_eq!((other.user.as_raw(), other.group.as_raw()), (0, 7));
        assert!(find("no-such-user").is_err());
        assert!(find("root:no-such-group").is_err());
    }
}
