/* Data in the shapes that kernels have them, to be looked at through debug information. */

typedef unsigned char	uint8;
typedef unsigned short	uint16;
typedef unsigned int	uint32;
typedef unsigned long long uint64;

enum state { S_NEW = 0, S_RUN = 1, S_SLEEP = 2, S_ZOMBIE = 7 };
enum flags { F_A = 0x1, F_B = 0x2, F_C = 0x4 };
enum sign { MINUS = -1, PLUS = 1 };

struct name {
	char		n_text[16];
};

struct only_declared;

struct proc;

struct thread {
	struct proc	*td_proc;
	struct {
		struct thread	*tqe_next;
		struct thread	**tqe_prev;
	}		 td_plist;
	int		 td_tid;
	unsigned int	 td_low : 3;
	unsigned int	 td_mid : 7;
	signed int	 td_signed : 5;
	_Bool		 td_flag : 1;
	enum state	 td_state;
	union {
		uint64		 tdu_number;
		uint8		 tdu_bytes[8];
		struct {
			uint32		tdu_first;
			uint32		tdu_second;
		};
	};
	void		(*td_call)(struct thread *, const char *, ...);
	struct only_declared *td_hidden;
};

struct proc {
	int		 p_pid;
	char		 p_comm[20];
	struct {
		struct thread	*tqh_first;
		struct thread	**tqh_last;
	}		 p_threads;
	struct name	 p_names[3];
	const volatile int *p_pointer;
	uint16		 p_matrix[2][3];
	double		 p_load;
	float		 p_half;
	enum flags	 p_flags;
	long		 p_sum;
};

struct packed {
	uint8		k_first;
	uint32		k_limit : 20;
	uint64		k_base : 44;
} __attribute__((packed));

struct flexible {
	int		 f_count;
	short		 f_values[];
};

static struct {
	int		 f_count;
	short		 f_values[3];
} flexible_storage = { 3, { 11, 22, 33 } };

struct proc proc0;
struct thread thread0;

static void
nothing(struct thread *td, const char *format, ...)
{
	(void)td;
	(void)format;
}

int table[40] = { 1, 2, 3, [20] = 5 };
const char greeting[] = "hello\n\"world\"";
char padded[24] = "panic: x";
const char *message = greeting;
struct packed descriptor = { 1, 0xabcde, 0x89abcdef012 };
struct flexible *flexible = (struct flexible *)&flexible_storage;
void (*callback)(struct thread *, const char *, ...) = nothing;
enum state current = S_SLEEP;
enum flags some = (enum flags)(F_A | F_C);
enum flags odd = (enum flags)(F_B | 0x10);
enum sign negative = MINUS;
_Bool yes = 1;
unsigned char byte = 200;
signed char small = -3;
int minus = -42;
unsigned int big = 4000000000u;
unsigned long long wide = 0x123456789abcdef0ull;
int *nowhere;
static const char *const names[] = { "zero", "one", "two" };

struct thread thread0 = {
	.td_proc = &proc0,
	.td_tid = 100001,
	.td_low = 5,
	.td_mid = 99,
	.td_signed = -7,
	.td_flag = 1,
	.td_state = S_RUN,
	{ .tdu_number = 0x1122334455667788ull },
	.td_call = nothing,
};

struct proc proc0 = {
	.p_pid = 1234,
	.p_comm = "doomed",
	.p_threads = { &thread0, &thread0.td_plist.tqe_next },
	.p_names = { { "first" }, { "second" }, { "third" } },
	.p_pointer = &minus,
	.p_matrix = { { 1, 2, 3 }, { 4, 5, 6 } },
	.p_load = 1.5,
	.p_half = 0.1f,
	.p_flags = (enum flags)(F_A | F_B),
	.p_sum = -1,
};

static inline __attribute__((always_inline)) int
inner(int value)
{
	if (names[value & 1][0] == 'z')
		table[value & 7] += value;	/* line of inner */
	return (table[value & 7]);
}

static inline __attribute__((always_inline)) int
middle(int number)
{
	int doubled = number * 2;

	return (inner(doubled + 1));	/* line of middle */
}

__attribute__((noinline)) int
outer(struct proc *p, int argument)
{
	int sum = argument;

	sum += middle(p->p_pid + argument);	/* line of outer */
	callback(&thread0, "called %d", sum);
	return (sum);
}

int
main(void)
{
	return (outer(&proc0, 3) == 0 && flexible->f_count == 0 && message[0] == 0 && byte + small + yes + (int)big +
	    (int)wide + negative + odd + some + current + descriptor.k_limit + padded[0] + (nowhere != 0));
}
