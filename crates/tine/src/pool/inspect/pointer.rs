//! Block pointers.

use serde_json::{Value as Json, json};
use zfs_ondisk::blkptr::{BlockPointer, Dva, Kind};
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::compress::Function;

use super::dump::Dump;
use super::shown::{Shown, digits, number};

/// A pointer in one value: a line as zdb writes it.
pub(crate) fn shown(pointer: &BlockPointer) -> Shown {
    Shown::new(line(pointer), to_json(pointer))
}

/// A pointer with a line for each field.
pub(crate) fn dump(dump: &mut Dump, name: &str, pointer: &BlockPointer) {
    if dump.is_json() {
        return dump.field(name, shown(pointer));
    }
    dump.section(name, |dump| {
        dump.field("kind", kind(pointer));
        for (index, dva) in pointer.dvas().enumerate() {
            let gang = if dva.gang { ", gang" } else { "" };
            let note = format!("vdev {}, offset {:#x}, {} bytes{gang}", dva.vdev, dva.offset, dva.asize);
            dump.field(&format!("copy {index}"), Shown::from(self::dva(&dva)).note(note));
        }
        if pointer.is_hole() && pointer.birth() == 0 {
            return;
        }
        dump.field("type", pointer.object_type().to_string());
        dump.field("level", u64::from(pointer.level()));
        dump.field("logical size", Shown::size(pointer.logical_size() as u64));
        dump.field("physical size", Shown::size(pointer.physical_size() as u64));
        if pointer.kind() == Kind::Data {
            dump.field("allocated size", Shown::size(pointer.allocated_size()));
        }
        dump.field("compression", compression(pointer));
        if matches!(pointer.kind(), Kind::Data) {
            dump.field("checksum function", checksum(pointer));
            dump.field("checksum", digest(pointer));
        }
        dump.field("byte order", order(pointer));
        dump.field("deduplicated", pointer.is_dedup());
        if pointer.uses_crypt() {
            dump.field("encryption", if pointer.is_encrypted() { "encrypted" } else { "authenticated" });
        }
        dump.field("birth txg", pointer.birth());
        dump.field("physical birth txg", pointer.physical_birth());
        dump.field("fill", pointer.fill());
        if let Some(payload) = pointer.payload() {
            dump.field("payload", digits(&payload));
        }
    });
}

/// A DVA as zdb writes it.
pub(crate) fn dva(dva: &Dva) -> String {
    format!("{}:{:x}:{:x}{}", dva.vdev, dva.offset, dva.asize, if dva.gang { "G" } else { "" })
}

/// The name of a compression function by its number.
pub(crate) fn compression_name(compression: u8) -> String {
    Function::from_number(compression).map_or_else(|| format!("unknown {compression}"), |known| known.name().to_owned())
}

/// The name of a checksum function by its number.
pub(crate) fn checksum_name(checksum: u8) -> String {
    Checksum::from_number(checksum).map_or_else(|| format!("unknown {checksum}"), |known| known.name().to_owned())
}

fn kind(pointer: &BlockPointer) -> &'static str {
    match pointer.kind() {
        Kind::Hole => "hole",
        Kind::Embedded => "embedded",
        Kind::Redacted => "redacted",
        Kind::Data => "data",
    }
}

fn compression(pointer: &BlockPointer) -> String {
    compression_name(pointer.compression())
}

fn checksum(pointer: &BlockPointer) -> String {
    checksum_name(pointer.checksum())
}

fn order(pointer: &BlockPointer) -> &'static str {
    if pointer.is_little_endian() { "little endian" } else { "big endian" }
}

fn digest(pointer: &BlockPointer) -> String {
    pointer.digest().map(|word| format!("{word:016x}")).join(":")
}

fn line(pointer: &BlockPointer) -> String {
    let sizes = format!("{:x}L/{:x}P", pointer.logical_size(), pointer.physical_size());
    let (level, kind, birth) = (pointer.level(), pointer.object_type(), pointer.birth());
    match pointer.kind() {
        Kind::Hole if birth == 0 => "hole".to_owned(),
        Kind::Hole => format!("hole [L{level} {kind}] {sizes} birth={birth}"),
        Kind::Redacted => format!("redacted [L{level} {kind}] birth={birth}"),
        Kind::Embedded => format!("embedded [L{level} {kind}] {} {sizes} birth={birth}", compression(pointer)),
        Kind::Data => {
            let copies: Vec<String> = pointer.dvas().map(|dva| self::dva(&dva)).collect();
            let mut words = vec![checksum(pointer), compression(pointer)];
            if pointer.uses_crypt() {
                words.push(if pointer.is_encrypted() { "encrypted" } else { "authenticated" }.to_owned());
            }
            words.push(if pointer.is_little_endian() { "LE" } else { "BE" }.to_owned());
            if pointer.is_dedup() {
                words.push("dedup".to_owned());
            }
            format!(
                "{} [L{level} {kind}] {} {sizes} birth={birth}L/{}P fill={} cksum={}",
                copies.join(" "),
                words.join(" "),
                pointer.physical_birth(),
                pointer.fill(),
                digest(pointer)
            )
        }
    }
}

fn to_json(pointer: &BlockPointer) -> Json {
    let dvas = pointer.dvas().map(|dva| {
        json!({ "vdev": dva.vdev, "offset": number(dva.offset), "allocated_size": dva.asize, "gang": dva.gang, "dva": self::dva(&dva) })
    });
    let mut json = json!({
        "kind": kind(pointer),
        "copies": dvas.collect::<Vec<_>>(),
        "type": pointer.object_type().to_string(),
        "level": pointer.level(),
        "logical_size": pointer.logical_size(),
        "physical_size": pointer.physical_size(),
        "compression": compression(pointer),
        "checksum_function": Json::Null,
        "checksum": Json::Null,
        "byte_order": if pointer.is_little_endian() { "little" } else { "big" },
        "deduplicated": pointer.is_dedup(),
        "encrypted": pointer.is_encrypted(),
        "authenticated": pointer.uses_crypt(),
        "birth_txg": number(pointer.birth()),
        "physical_birth_txg": number(pointer.physical_birth()),
        "fill": number(pointer.fill()),
    });
    if pointer.kind() == Kind::Data {
        json["checksum_function"] = checksum(pointer).into();
        json["checksum"] = digest(pointer).into();
    }
    if let Some(payload) = pointer.payload() {
        json["payload"] = digits(&payload).into();
    }
    json
}

#[cfg(test)]
mod tests {
    use zfs_ondisk::blkptr::Fields;
    use zfs_ondisk::object::ObjectType;

    use super::*;

    fn pointer() -> BlockPointer {
        let dva = |offset| Dva { vdev: 0, offset, asize: 512, gang: false };
        BlockPointer::data(&Fields {
            dvas: [dva(0x75a00), dva(0x102_6400), dva(0x201_3c00)],
            level: 0,
            object_type: ObjectType::OBJSET,
            logical_size: 0x1000,
            physical_size: 0x200,
            compression: 15,
            checksum: 7,
            birth: 9,
            fill: 55,
            digest: [0xa_8b20_0745, 2, 3, 4],
        })
    }

    #[test]
    fn a_line_has_the_words_of_zdb() {
        assert_eq!(
            line(&pointer()),
            "0:75a00:200 0:1026400:200 0:2013c00:200 [L0 DMU objset] fletcher4 lz4 LE 1000L/200P birth=9L/9P fill=55 \
             cksum=0000000a8b200745:0000000000000002:0000000000000003:0000000000000004"
        );
        assert_eq!(line(&BlockPointer::HOLE), "hole");
    }

    #[test]
    fn json_has_every_copy() {
        let json = to_json(&pointer());
        assert_eq!(json["copies"][2]["offset"], 0x201_3c00);
        assert_eq!((&json["compression"], &json["fill"]), (&json!("lz4"), &json!(55)));
    }
}
