use super::*;

fn names(features: FeatureSet) -> Vec<&'static str> {
    features.iter().map(Feature::name).collect()
}

#[test]
fn every_feature_is_found_by_its_name_and_by_its_guid() {
    for feature in Feature::all() {
        assert_eq!(Feature::by_name(feature.name()), Some(feature));
        assert_eq!(Feature::by_guid(feature.guid()), Some(feature));
        assert!(feature.description().ends_with('.'), "{feature:?}");
    }
    assert_eq!(Feature::by_name("com.delphix:hole_birth"), None);
}

#[test]
fn features_carry_the_flags_of_openzfs() {
    let f = Feature::HoleBirth;
    assert!(f.in_label() && f.active_when_enabled() && !f.read_only_compatible());
    assert!(Feature::SpacemapV2.read_only_compatible() && Feature::SpacemapV2.active_when_enabled());
    assert!(Feature::LargeBlocks.per_dataset() && !Feature::LargeBlocks.read_only_compatible());
    assert!(Feature::DynamicGangHeader.not_by_upgrade());
    for feature in Feature::all() {
        // What cannot be read without the feature cannot be read-only compatible.
        assert!(!(feature.in_label() && feature.read_only_compatible()), "{feature:?}");
        if feature.per_dataset() {
            assert!(feature.dependencies().contains(&Feature::ExtensibleDataset), "{feature:?}");
        }
    }
}

#[test]
fn a_closure_holds_the_dependencies_of_dependencies() {
    let set = FeatureSet::from(Feature::RedactionListSpill).closure();
    let expected = ["extensible_dataset", "bookmarks", "redaction_bookmarks", "bookmark_v2", "redaction_list_spill"];
    assert_eq!(names(set), expected);
}

#[test]
fn the_portable_set_is_that_of_openzfs_2_1_without_what_one_system_lacks() {
    let set = FeatureSet::portable();
    assert_eq!(set.len(), 33);
    assert!(set.contains(Feature::Draid) && set.contains(Feature::ZstdCompress));
    assert!(!set.contains(Feature::Edonr) && !set.contains(Feature::Blake3));
    assert_eq!(set.closure(), set);
}

#[test]
fn sets_have_as_many_features_as_in_openzfs() {
    // Counted in the files of compatibility.d.
    for (name, count) in [
        ("zol-0.6.1", 3),
        ("2018", 11),
        ("freebsd-11.0", 14),
        ("freebsd-12.4", 18),
        ("zol-0.8", 26),
        ("openzfs-2.1-linux", 34),
        ("freebsd-14.0", 39),
        ("openzfs-2.3-freebsd", 44),
        ("openzfs-2.4", 47),
        ("grub2-2.06", 14),
        ("grub2", 22),
        ("legacy", 0),
    ] {
        assert_eq!(Compatibility::named(name).unwrap().features.len(), count, "{name}");
    }
}

#[test]
fn every_built_in_name_is_a_set_whose_dependencies_are_in_it() {
    for name in Compatibility::names() {
        let features = Compatibility::named(name).unwrap().features;
        assert_eq!(features.satisfied(), features, "{name}");
    }
}

#[test]
fn several_sets_allow_what_all_of_them_allow() {
    let both = Compatibility::named("openzfs-2.0-linux,grub2-2.06").unwrap();
    assert!(both.features.contains(Feature::LogSpacemap));
    assert!(!both.features.contains(Feature::BlockCloning));
    assert!(!both.features.contains(Feature::Encryption));
}

#[test]
fn a_file_lists_features_between_commas_and_comments() {
    let file = "# for us\nlz4_compress, hole_birth,\tenabled_txg # and no more\r\n\nwarp_drive\n";
    let allowed = Compatibility::parse(file).unwrap();
    assert_eq!(names(allowed.features), ["lz4_compress", "enabled_txg", "hole_birth"]);
    assert_eq!(allowed.unknown, ["warp_drive"]);
}

#[test]
fn a_file_that_openzfs_refuses_is_refused() {
    assert_eq!(Compatibility::parse(""), Err(CompatibilityError::NotAList { size: 0 }));
    assert_eq!(Compatibility::parse("skein"), Err(CompatibilityError::NotAList { size: 5 }));
    let long = "#".repeat(MAX_COMPATIBILITY_FILE) + "\n";
    assert!(Compatibility::parse(&long).is_err());
}

#[test]
fn an_unknown_set_suggests_names_like_it() {
    let message = Compatibility::named("openzfs-2.1").unwrap_err().to_string();
    assert!(message.contains("openzfs-2.2"), "{message}");
}

#[test]
fn a_feature_that_lacks_its_dependency_is_not_satisfied() {
    let set: FeatureSet = [Feature::LogSpacemap, Feature::Skein, Feature::ExtensibleDataset].into_iter().collect();
    assert_eq!(names(set.satisfied()), ["extensible_dataset", "skein"]);
}
