/* A stack to walk: calls of several kinds, and arguments that registers do not keep. */

#include <signal.h>
#include <stdlib.h>

struct request {
	int		 r_number;
	const char	*r_name;
	struct request	*r_next;
};

volatile int sink;
struct request last = { 3, "last", 0 };

__attribute__((noinline)) static void
stop(int code, struct request *request)
{
	sink = code + request->r_number;
	abort();	/* line of stop */
}

static inline __attribute__((always_inline)) void
inlined(struct request *request, int more)
{
	int local = request->r_number + more;

	sink = local;
	stop(local, request);	/* line of inlined */
}

__attribute__((noinline)) void
bottom(struct request *request, long number)
{
	int array[4] = { 1, 2, 3, (int)number };

	sink = array[sink & 3];
	inlined(request, (int)number);	/* line of bottom */
	sink = array[0] + request->r_number;
}

__attribute__((noinline)) int
recurse(int depth, struct request *request)
{
	struct request mine = { depth, "mine", request };

	if (depth == 0)
		bottom(&last, 40);
	else
		sink = recurse(depth - 1, &mine);	/* line of recurse */
	return (mine.r_number + sink);
}

int
main(int argc, char **argv)
{
	(void)argv;
	return (recurse(4 + argc - 1, &last));	/* line of main */
}
