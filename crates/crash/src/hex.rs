//! Addresses in JSON: text, as its numbers are exact only up to 2^53.

use serde::{Serialize, Serializer};

pub(crate) fn word<S: Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    format!("{address:#x}").serialize(serializer)
}

pub(crate) fn maybe<S: Serializer>(address: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    address.map(|address| format!("{address:#x}")).serialize(serializer)
}
