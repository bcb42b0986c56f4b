//! What a file system has besides its files, written after them: where attributes are described, the queue of files to
//! delete, space by owner, the master node and the object set itself.

use std::collections::BTreeMap;

use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::dnode::{self, Dnode};
use zfs_ondisk::feature::Feature;
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::objset::{self, ObjectSet};
use zfs_ondisk::sa::{self, Attribute};
use zfs_ondisk::zap::{Params, ZapContents};
use zfs_ondisk::znode::{self, master};

use super::{Writer, Written};
use crate::block::Address;
use crate::error::Error;
use crate::store::Store;
use crate::zap_object;

impl Writer<'_> {
    /// The objects after the files: where attributes are described, and the
    /// queue of files to delete.
    fn special(&self) -> Special {
        let object = |index: u64| ObjectId(self.dataset.end.0 + index);
        Special { sa_master: object(0), registry: object(1), layouts: object(2), delete_queue: object(3) }
    }

    fn put_zap(
        &mut self,
        store: &mut Store<'_>,
        object: ObjectId,
        object_type: ObjectType,
        contents: &ZapContents,
    ) -> Result<(), Error> {
        let params = Params { norm_flags: 0, ..self.params(object) };
        let mut dnode = zap_object::write(store, &self.settings().policies, (object, object_type), contents, params)?;
        dnode.flags |= self.accounted();
        dnode.fill_pointers();
        self.dnodes.put(store, object, &dnode)
    }

    pub(super) fn master_node(&mut self, store: &mut Store<'_>) -> Result<(), Error> {
        let special = self.special();
        let mut contents = ZapContents::new();
        contents
            .set(master::VERSION, znode::ZPL_VERSION)
            .set(master::ROOT, self.dataset.root_object().0)
            .set(master::DELETE_QUEUE, special.delete_queue.0)
            .set(master::SA_ATTRS, special.sa_master.0);
        for (key, value) in self.dataset.master_node_properties() {
            contents.set(key, value);
        }
        self.put_zap(store, ObjectId(master::OBJECT), ObjectType::MASTER_NODE, &contents)
    }

    pub(super) fn finish(mut self, store: &mut Store<'_>) -> Result<Written, Error> {
        let special = self.special();
        let mut contents = ZapContents::new();
        contents.set(sa::REGISTRY, special.registry.0).set(sa::LAYOUTS, special.layouts.0);
        self.put_zap(store, special.sa_master, ObjectType::SA_MASTER_NODE, &contents)?;
        let mut registry = ZapContents::new();
        for attribute in Attribute::ALL {
            registry.set(attribute.name(), attribute.registration());
        }
        self.put_zap(store, special.registry, ObjectType::SA_ATTR_REGISTRATION, &registry)?;
        let mut layouts = ZapContents::new();
        for (number, order) in self.layouts.iter() {
            layouts.set_shorts(number.to_string(), order.iter().map(|&attribute| attribute as u16).collect());
        }
        self.put_zap(store, special.layouts, ObjectType::SA_ATTR_LAYOUTS, &layouts)?;
        self.put_zap(store, special.delete_queue, ObjectType::UNLINKED_SET, &ZapContents::new())?;

        let settings = self.settings();
        let features = settings.features;
        let by_object = features.contains(Feature::UserobjAccounting);
        let by_project = features.contains(Feature::ProjectQuota);
        let mut used = |object: i64, space: &BTreeMap<u32, Space>| -> Result<Dnode, Error> {
            let mut contents = ZapContents::new();
            for (id, space) in space {
                contents.set(format!("{id:x}"), space.bytes);
                if by_object {
                    contents.set(format!("obj-{id:x}"), space.objects);
                }
            }
            let object = ObjectId(object as u64);
            let params = Params { norm_flags: 0, ..self.params(object) };
            let policies = &settings.policies;
            let mut dnode =
                zap_object::write(store, policies, (object, ObjectType::USERGROUP_USED), &contents, params)?;
            dnode.fill_pointers();
            Ok(dnode)
        };
        let user_used = used(objset::USERUSED_OBJECT, &self.owners.users)?;
        let group_used = used(objset::GROUPUSED_OBJECT, &self.owners.groups)?;
        let project_used =
            if by_project { Some(used(objset::PROJECTUSED_OBJECT, &self.owners.projects)?) } else { None };
        let meta_dnode = self.dnodes.finish(store)?;
        let fill = meta_dnode.pointers.iter().map(BlockPointer::fill).sum();
        let flags = objset::FLAG_USERACCOUNTING_COMPLETE
            | if by_object { objset::FLAG_USEROBJACCOUNTING_COMPLETE } else { 0 }
            | if by_project { objset::FLAG_PROJECTQUOTA_COMPLETE } else { 0 };
        let object_set = ObjectSet {
            meta_dnode,
            zil_header: [0; objset::ZIL_HEADER_SIZE],
            kind: objset::Kind::FileSystem as u64,
            flags,
            user_used: Some(user_used),
            group_used: Some(group_used),
            project_used,
        };
        let size = if by_project { objset::SIZE_V3 } else { objset::SIZE_V2 };
        let policy = settings.policies.of(ObjectType::OBJSET, 0);
        let root = store.write(&policy, Address::ROOT, fill, &object_set.to_bytes(size))?;
        Ok(Written { root, usage: store.take_usage() })
    }
}

struct Special {
    sa_master: ObjectId,
    registry: ObjectId,
    layouts: ObjectId,
    delete_queue: ObjectId,
}

/// Space and objects by owner.
#[derive(Default)]
pub(super) struct Owners {
    users: BTreeMap<u32, Space>,
    groups: BTreeMap<u32, Space>,
    projects: BTreeMap<u32, Space>,
}

#[derive(Clone, Copy, Default)]
struct Space {
    bytes: u64,
    objects: u64,
}

impl Owners {
    /// Counts an object whose blocks take `allocated` bytes.
    pub(super) fn count(&mut self, (uid, gid): (u32, u32), allocated: u64) {
        // Files belong to no project unless told so.
        for (map, id) in [(&mut self.users, uid), (&mut self.groups, gid), (&mut self.projects, 0)] {
            let space = map.entry(id).or_default();
            // A dnode counts as the smallest one, whatever its size.
            space.bytes += dnode::SLOT_SIZE as u64 + allocated;
            space.objects += 1;
        }
    }
}
