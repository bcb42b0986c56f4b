/* What the kernel had beside processes: locks, memory, mounts, interfaces, a trace of its boot. */

#include "locks.h"

/* Processors, and memory of which each has a copy a page from the other's. */
#define PER_CPU __attribute__((aligned(4096)))
u32 mp_maxid = 1;
int osreldate = 1400097;
struct pcpu { struct thread *pc_curthread; u32 pc_cpuid; };
#ifdef RUNNING
#define CULPRITS_CPU 0
struct pcpu cpu0 = { &culprit, 0 }, cpu1 = { 0, 1 };
#else
#define CULPRITS_CPU 1
struct pcpu cpu0 = { 0, 0 }, cpu1 = { &culprit, 1 };
#endif
struct pcpu *cpuid_to_pcpu[4] = { &cpu0, &cpu1 };
int pcpu_entry_busy __attribute__((section("set_pcpu"))) = 5;
word dpcpu_off[4];

/* malloc(9). */
struct malloc_type_stats { u64 mts_memalloced, mts_memfreed, mts_numallocs, mts_numfrees; };
struct malloc_type_internal { struct malloc_type_stats *mti_stats; };
struct malloc_type { struct malloc_type *ks_next; u64 ks_version; const char *ks_shortdesc; struct malloc_type_internal ks_mti; };
static struct { struct malloc_type_stats stats PER_CPU; } of_temp[2] = { { { 5000, 1000, 9, 2 } }, { { 100, 100, 3, 3 } } };
static struct { struct malloc_type_stats stats PER_CPU; } of_proc[2] = { { { 64, 0, 1, 0 } } };
static struct malloc_type M_PROC = { 0, 0, "proc", { &of_proc[0].stats } };
struct malloc_type M_TEMP = { &M_PROC, 0, "temp", { &of_temp[0].stats } }, *kmemstatistics = &M_TEMP;

/* uma(9), as it is since FreeBSD 13. */
typedef u64 *counter_u64_t;
static struct { u64 count PER_CPU; } of_zone[2] = { { 100 }, { 20 } }, of_freed[2] = { { 90 } }, of_fails[2];
static struct { u64 count PER_CPU; } received[2] = { { 7 }, { 8 } }, others[2] = { { 3 } };
struct uma_domain { u32 ud_free_items; };
struct uma_zone_domain { long uzd_nitems; };
struct uma_cache_bucket { void *ucb_bucket; short ucb_cnt, ucb_entries; };
struct uma_cache { struct uma_cache_bucket uc_freebucket, uc_allocbucket, uc_crossbucket; u64 uc_allocs, uc_frees; };
struct uma_zone {
	u32 uz_flags, uz_size;
	u64 uz_max_items;
	unsigned short uz_bucket_size;
	u64 uz_sleeps;
	LIST_ENTRY(uma_zone) uz_link;
	counter_u64_t uz_allocs, uz_frees, uz_fails;
	const char *uz_name;
	struct uma_cache uz_cpu[];
};
struct uma_keg { LIST_HEAD(uma_zone) uk_zones; u32 uk_size, uk_flags; LIST_ENTRY(uma_keg) uk_link; struct uma_domain uk_domain[1]; };
static struct { struct uma_zone zone; struct uma_cache cpus[2]; struct uma_zone_domain domain; } mbufs = {
	.zone = {
		.uz_size = 256, .uz_max_items = 1000, .uz_bucket_size = 16, .uz_sleeps = 1, .uz_allocs = &of_zone[0].count,
		.uz_frees = &of_freed[0].count, .uz_fails = &of_fails[0].count, .uz_name = "mbuf",
	},
	.cpus = { { { 0, 3 }, { 0, 4 }, { 0, 0 }, 10, 5 }, { { 0, 0 }, { 0, 1 }, { 0, 0 }, 0, 0 } },
	.domain = { 6 },
};
static struct uma_keg mbuf_keg = { .uk_zones = { &mbufs.zone }, .uk_size = 256, .uk_domain = { { 2 } } };
struct { struct uma_keg *lh_first; } uma_kegs = { &mbuf_keg };
struct { struct uma_zone *lh_first; } uma_cachezones;
int vm_ndomains = 1;
struct vmmeter { u32 v_page_size, v_page_count, v_free_count; } vm_cnt = { 4096, 1000, 400 };

/* Mounts; the cookbook has others, with vnodes. */
#ifndef COOKBOOK
struct statfs { u64 f_bsize, f_blocks, f_bfree; char f_fstypename[16], f_mntfromname[64], f_mntonname[64]; };
struct mount { TAILQ_ENTRY(mount) mnt_list; u64 mnt_flag; int mnt_nvnodelistsize; struct statfs mnt_stat; };
static struct mount root_mount = {
	.mnt_flag = 0x1001, .mnt_nvnodelistsize = 17, .mnt_stat = { 4096, 100, 25, "zfs", "zroot/ROOT/default", "/" },
};
struct { struct mount *tqh_first, **tqh_last; } mountlist = { &root_mount };
#endif

/* Interfaces. */
struct sockaddr { unsigned char sa_len, sa_family; char sa_data[26]; };
struct ifaddr { struct sockaddr *ifa_addr, *ifa_netmask; CK_STAILQ_ENTRY(ifaddr) ifa_link; };
struct ifnet {
	CK_STAILQ_ENTRY(ifnet) if_link;
	char if_xname[16];
	char *if_description;
	unsigned short if_index;
	int if_flags, if_drv_flags;
	unsigned char if_link_state;
	u32 if_mtu;
	CK_STAILQ_HEAD(ifaddr) if_addrhead;
	counter_u64_t if_counters[12];
};
static struct sockaddr host = { 16, 2, { 0, 0, 192, 0, 2, 7 } }, mask = { 7, 2, { 0, 0, 255, 255, 255, 0 } };
static struct ifaddr host_address = { &host, &mask };
#define OTHER &others[0].count
static struct ifnet em0 = {
	.if_xname = "em0", .if_index = 1, .if_flags = 0x8803, .if_drv_flags = 0x40, .if_link_state = 2, .if_mtu = 1500,
	.if_addrhead = { &host_address },
	.if_counters = { &received[0].count, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER },
};
struct { struct ifnet *cstqh_first, **cstqh_last; } ifnet = { &em0 };

/* The trace of the boot, with room for four records, and two more that were lost. */
long nrecs = 6;
u64 tsc_freq = 1000000;
struct timestamp { void *td; int type; const char *f, *s; u64 tsc; } timestamps[4] = {
	{ &thread0, 0, "mi_startup", 0, 1000 }, { &thread0, 3, "WAIT", "mount", 1500 }, { &culprit, 2, 0, "doomed", 1700 },
	{ &thread0, 1, "mi_startup", 0, 2000 },
};
struct procdata { int ppid; u64 tsc_forked, tsc_exited; char *execname, *namei; int reused; } procs[3] = {
	{ 0 }, { 0, 1600, 0, "/sbin/init", "init" }, { 1, 1800, 1900 },
};
