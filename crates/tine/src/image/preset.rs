//! What places that run images want of them. docs/guide/disks.md says it in words.

use clap::ValueEnum;
use disk::image::Target;
use tree::Tree;

use super::settings::{Console, Facts, Settings};

/// A place that runs images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// Virtual machines in general: QEMU, libvirt, Proxmox
    Vm,
    /// Amazon EC2
    Ec2,
    /// Microsoft Azure
    Azure,
    /// Google Cloud
    Gcp,
    /// bhyve
    Bhyve,
}

impl Preset {
    /// The format of images.
    pub(crate) fn target(self) -> Target {
        match self {
            Preset::Vm => Target::Qcow2Zstd,
            Preset::Ec2 | Preset::Bhyve => Target::Raw,
            Preset::Azure => Target::VhdFixed,
            Preset::Gcp => Target::TarGz,
        }
    }

    /// Sizes of disks are multiples of this.
    pub(crate) fn size_unit(self) -> u64 {
        match self {
            Preset::Vm | Preset::Azure | Preset::Bhyve => 1 << 20,
            Preset::Ec2 | Preset::Gcp => 1 << 30,
        }
    }

    /// The size of a partition for swap, if there is one.
    pub(crate) fn swap(self) -> Option<u64> {
        match self {
            Preset::Vm | Preset::Bhyve => Some(1 << 30),
            Preset::Ec2 | Preset::Azure | Preset::Gcp => None,
        }
    }

    /// Settings of the system. Services that the tree lacks are not started, whatever rc.conf says of them.
    pub(crate) fn settings(self, facts: &Facts) -> Settings {
        let mut settings = Settings::default();
        settings.configure(facts);
        settings.grow();
        let (rc_conf, loader_conf): (&[&str], &[&str]) = match self {
            Preset::Vm => {
                settings.console(Console::Both);
                (&["ifconfig_DEFAULT=\"DHCP inet6 accept_rtadv\""], &[])
            }
            Preset::Bhyve => {
                settings.console(Console::Serial);
                (&["ifconfig_DEFAULT=\"DHCP inet6 accept_rtadv\""], &[])
            }
            Preset::Ec2 => {
                settings.console(Console::Both);
                settings.boot_at_once();
                (
                    &[
                        "ifconfig_DEFAULT=\"SYNCDHCP accept_rtadv\"",
                        "ipv6_activate_all_interfaces=\"YES\"",
                        "sshd_enable=\"YES\"",
                        "ntpd_enable=\"YES\"",
                        "ec2_configinit_enable=\"YES\"",
                        "ec2_fetchkey_enable=\"YES\"",
                        "ec2_loghostkey_enable=\"YES\"",
                    ],
                    // The console takes no input, and nobody sees a debugger.
                    &[
                        "autoboot_delay=\"-1\"",
                        "beastie_disable=\"YES\"",
                        "if_ena_load=\"YES\"",
                        "hw.nvme.use_nvd=\"0\"",
                        "debug.trace_on_panic=\"1\"",
                        "debug.debugger_on_panic=\"0\"",
                        "kern.panic_reboot_wait_time=\"0\"",
                        "hint.atkbd.0.disabled=\"1\"",
                        "hint.atkbdc.0.disabled=\"1\"",
                    ],
                )
            }
            Preset::Azure => {
                settings.console(Console::Both);
                (&["ifconfig_hn0=\"SYNCDHCP\"", "sshd_enable=\"YES\"", "waagent_enable=\"YES\""], &[])
            }
            Preset::Gcp => {
                settings.console(Console::Both);
                (
                    &[
                        "ifconfig_DEFAULT=\"SYNCDHCP mtu 1460\"",
                        "sshd_enable=\"YES\"",
                        "ntpd_enable=\"YES\"",
                        "ntpd_sync_on_start=\"YES\"",
                    ],
                    &[
                        "autoboot_delay=\"-1\"",
                        "beastie_disable=\"YES\"",
                        "hw.vtnet.mq_disable=\"1\"",
                        "nvme_load=\"YES\"",
                    ],
                )
            }
        };
        rc_conf.iter().for_each(|line| settings.rc_conf(line));
        loader_conf.iter().for_each(|line| settings.loader_conf(line));
        settings
    }

    /// What the place wants and the tree has not.
    pub(crate) fn missing(self, tree: &Tree) -> Option<String> {
        let (path, package) = match self {
            Preset::Azure => ("usr/local/sbin/waagent", "azure-agent"),
            Preset::Ec2 => ("usr/local/etc/rc.d/ec2_fetchkey", "ec2-scripts"),
            _ => return None,
        };
        let missing = tree.lookup(path.as_bytes()).is_none();
        missing.then(|| {
            format!("the tree lacks the package {package}, which fetches keys and user data at the first boot")
        })
    }
}
