/*
 * What the examples for Lua look at, with the names that FreeBSD gives it: open files, sockets and their mbufs, TCP
 * connections with their logs, file systems and vnodes, a ZFS pool. Included by kernel.c.
 */
typedef unsigned char u8;
typedef unsigned short u16;

enum vtype { VNON, VREG, VDIR, VBLK, VCHR, VLNK, VSOCK, VFIFO, VBAD, VMARKER };
struct vnode;
struct mount;
struct namecache {
	TAILQ_ENTRY(namecache) nc_dst;
	struct vnode *nc_dvp;
	u8 nc_flag, nc_nlen;
	char nc_name[20];
};
struct cdev { char si_name[64]; };
struct vnode {
	enum vtype v_type;
	struct mount *v_mount;
	TAILQ_ENTRY(vnode) v_nmntvnodes;
	union { struct mount *v_mountedhere; struct cdev *v_rdev; };
	TAILQ_HEAD(namecache) v_cache_dst;
	u32 v_usecount, v_vflag;
};
struct statfs { u64 f_bsize, f_blocks, f_bfree; char f_fstypename[16], f_mntfromname[64], f_mntonname[64]; };
struct mount {
	TAILQ_ENTRY(mount) mnt_list;
	struct vnode *mnt_vnodecovered;
	u64 mnt_flag;
	int mnt_nvnodelistsize;
	struct { struct vnode *tqh_first, **tqh_last; } mnt_nvnodelist;
	struct statfs mnt_stat;
};

struct mbuf {
	struct mbuf *m_next, *m_nextpkt;
	char *m_data;
	int m_len;
	u32 m_type : 8, m_flags : 24;
};
struct sockbuf { u32 sb_acc, sb_ccc; struct mbuf *sb_mb; };
struct domain { int dom_family; };
struct protosw { short pr_type; struct domain *pr_domain; };
struct socket {
	short so_type;
	int so_options;
	struct protosw *so_proto;
	struct sockbuf so_rcv, so_snd;
};
struct file { void *f_data; struct vnode *f_vnode; short f_type; u32 f_count; };
struct filedescent { struct file *fde_file; };
struct fdescenttbl { int fdt_nfiles; struct filedescent fdt_ofiles[]; };
struct filedesc { struct fdescenttbl *fd_files; };

enum tcp_log_events { TCP_LOG_IN = 1, TCP_LOG_OUT };
struct timeval { long tv_sec, tv_usec; };
struct tcp_log_buffer {
	struct timeval tlb_tv;
	u32 tlb_sn;
	u8 tlb_eventid;
	int tlb_state;
	u32 tlb_snd_una, tlb_snd_max, tlb_rcv_nxt, tlb_snd_cwnd, tlb_len;
};
struct tcp_log_mem { struct { struct tcp_log_mem *stqe_next; } tlm_queue; struct tcp_log_buffer tlm_buf; };
struct tcpcb { int t_state; struct { struct tcp_log_mem *stqh_first, **stqh_last; } t_logs; };
struct in_endpoints { u16 ie_fport, ie_lport; u8 ie_dependfaddr[16], ie_dependladdr[16]; };
struct inpcb {
	struct { struct inpcb *cle_next, **cle_prev; } inp_list;
	void *inp_ppcb;
	int inp_flags;
	u8 inp_vflag;
	struct { struct in_endpoints inc_ie; } inp_inc;
};
struct inpcbinfo { struct { struct inpcb *clh_first; } ipi_listhead; };

typedef struct avl_node { struct avl_node *avl_child[2]; u64 avl_pcb; } avl_node_t;
typedef struct avl_tree { avl_node_t *avl_root; u64 avl_offset, avl_numnodes; } avl_tree_t;
typedef struct list_node { struct list_node *list_next, *list_prev; } list_node_t;
typedef struct list { u64 list_size, list_offset; list_node_t list_head; } list_t;
typedef enum { POOL_STATE_ACTIVE, POOL_STATE_EXPORTED } pool_state_t;
struct vdev_stat { u64 vs_read_errors, vs_write_errors, vs_checksum_errors; };
struct vdev_ops { char vdev_op_type[16]; };
struct vdev {
	char *vdev_path;
	struct vdev_ops *vdev_ops;
	u64 vdev_state, vdev_children;
	struct vdev **vdev_child;
	struct vdev_stat vdev_stat;
};
struct dsl_pool { struct { u64 tx_open_txg, tx_quiesced_txg, tx_syncing_txg, tx_synced_txg; } dp_tx; };
struct spa {
	char spa_name[256];
	avl_node_t spa_avl;
	pool_state_t spa_state;
	struct dsl_pool *spa_dsl_pool;
	struct vdev *spa_root_vdev;
	list_node_t spa_node;
};

extern struct mount root_fs, dev_fs;
extern struct vnode root_vnode, etc_vnode, passwd_vnode, console_vnode;
static struct namecache etc_name = { .nc_dvp = &root_vnode, .nc_nlen = 3, .nc_name = "etc" };
static struct namecache passwd_name = { .nc_dvp = &etc_vnode, .nc_nlen = 6, .nc_name = "passwd" };
static struct cdev console = { "console" };
struct vnode root_vnode = { .v_type = VDIR, .v_mount = &root_fs, .v_nmntvnodes = { &etc_vnode }, .v_usecount = 2, .v_vflag = 1 };
struct vnode etc_vnode = { .v_type = VDIR, .v_mount = &root_fs, .v_nmntvnodes = { &passwd_vnode }, .v_cache_dst = { &etc_name } };
struct vnode passwd_vnode = { .v_type = VREG, .v_mount = &root_fs, .v_cache_dst = { &passwd_name }, .v_usecount = 1 };
struct vnode console_vnode = { .v_type = VCHR, .v_mount = &dev_fs, .v_rdev = &console, .v_usecount = 1 };
struct mount root_fs = {
	.mnt_list = { &dev_fs }, .mnt_nvnodelist = { &root_vnode }, .mnt_stat = { 4096, 100, 25, "ufs", "/dev/ada0p2", "/" },
};
struct mount dev_fs = {
	.mnt_vnodecovered = &etc_vnode, .mnt_nvnodelist = { &console_vnode }, .mnt_stat = { 512, 2, 0, "devfs", "devfs", "/dev" },
};
struct { struct mount *tqh_first, **tqh_last; } mountlist = { &root_fs };

static struct domain inet = { 2 };
static struct protosw tcp = { 1, &inet };
static struct mbuf second = { .m_data = "world\n", .m_len = 6, .m_flags = 1 };
static struct mbuf first = { .m_next = &second, .m_data = "hello, ", .m_len = 7 };
static struct socket connection = { .so_type = 1, .so_proto = &tcp, .so_rcv = { 13, 13, &first } };
static struct socket listener = { .so_type = 1, .so_options = 2, .so_proto = &tcp };
static struct file passwd_file = { .f_vnode = &passwd_vnode, .f_type = 1, .f_count = 1 };
static struct file console_file = { .f_vnode = &console_vnode, .f_type = 1, .f_count = 1 };
static struct file connection_file = { .f_data = &connection, .f_type = 2, .f_count = 1 };
static struct file listener_file = { .f_data = &listener, .f_type = 2, .f_count = 1 };
static struct fdescenttbl files = { 5, { { &console_file }, {}, { &passwd_file }, { &connection_file }, { &listener_file } } };
static struct filedesc doomed_files = { &files };

static struct tcp_log_mem log_out = { .tlm_buf = {
	.tlb_tv = { 12, 345 }, .tlb_sn = 8, .tlb_eventid = TCP_LOG_OUT, .tlb_state = 4, .tlb_snd_una = 100, .tlb_snd_max = 120,
	.tlb_rcv_nxt = 213, .tlb_snd_cwnd = 14600, .tlb_len = 20,
} };
static struct tcp_log_mem log_in = { .tlm_queue = { &log_out }, .tlm_buf = {
	.tlb_tv = { 12, 340 }, .tlb_sn = 7, .tlb_eventid = TCP_LOG_IN, .tlb_state = 4, .tlb_snd_una = 100, .tlb_snd_max = 100,
	.tlb_rcv_nxt = 213, .tlb_snd_cwnd = 14600, .tlb_len = 13,
} };
static struct tcpcb connected = { 4, { &log_in } }, listens = { 1 };
static struct inpcb listening_pcb = {
	.inp_ppcb = &listens, .inp_vflag = 2, .inp_inc = { { .ie_lport = 0x1600 } },
};
static struct inpcb connected_pcb = {
	.inp_list = { &listening_pcb }, .inp_ppcb = &connected, .inp_vflag = 1,
	.inp_inc = { { 0x3930, 0x1600, { [12] = 10, 0, 2, 2 }, { [12] = 10, 0, 2, 15 } } },
};
struct inpcbinfo tcbinfo = { { &connected_pcb } };

static struct vdev_ops mirror_ops = { "mirror" };
static struct vdev disks[2] = {
	{ "/dev/ada0p3", &mirror_ops, 7 }, { "/dev/ada1p3", &mirror_ops, 5, .vdev_stat = { 3, 1, 2 } },
};
static struct vdev *children[2] = { &disks[0], &disks[1] };
static struct vdev mirror = { 0, &mirror_ops, 6, 2, children };
static struct dsl_pool tank_pool = { { 103, 102, 0, 101 } };
extern struct spa backup, tank;
extern list_t spa_list;
struct spa tank = {
	.spa_name = "tank", .spa_avl = { { &backup.spa_avl } }, .spa_dsl_pool = &tank_pool, .spa_root_vdev = &mirror,
	.spa_node = { &backup.spa_node, &spa_list.list_head },
};
struct spa backup = { .spa_name = "backup", .spa_state = POOL_STATE_EXPORTED, .spa_node = { &spa_list.list_head, &tank.spa_node } };
avl_tree_t spa_namespace_avl = { &tank.spa_avl, __builtin_offsetof(struct spa, spa_avl), 2 };
list_t spa_list = {
	sizeof(struct spa), __builtin_offsetof(struct spa, spa_node), { &tank.spa_node, &backup.spa_node },
};
