/* Lists of sys/queue.h and numbers. */
typedef __UINT64_TYPE__ u64;
typedef unsigned int u32;
/* As long as an address (uintptr_t). */
typedef unsigned long word;

#define LIST_HEAD(type) struct { struct type *lh_first; }
#define LIST_ENTRY(type) struct { struct type *le_next; struct type **le_prev; }
#define TAILQ_HEAD(type) struct { struct type *tqh_first; struct type **tqh_last; }
#define TAILQ_ENTRY(type) struct { struct type *tqe_next; struct type **tqe_prev; }
#define CK_STAILQ_HEAD(type) struct { struct type *cstqh_first; struct type **cstqh_last; }
#define CK_STAILQ_ENTRY(type) struct { struct type *cstqe_next; }
