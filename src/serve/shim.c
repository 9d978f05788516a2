/*
 * dist/bin/culvert: what a container runtime executes under a plugin's name. Where `culvert serve` answers in the namespaces of this
 * process, it is given the execution, and a pod is spared the start of Node; everywhere else, and for every other command, this
 * process becomes `culvert-node`, which stands beside this file. Then nobody has read its input, and nothing is lost but a millisecond.
 *
 * Who answers (src/serve/serve.ts): a Unix socket named after the network, mount and process namespaces (namespaces(7)) and the root
 * folder, so that whoever answers sees the same paths and links as this process would.
 *   it says first   "culvert BUILD\n": it is awake, and no other build than this
 *   it is told      "NAMES INPUT\n" (lengths in bytes), then this process's name and its environment, each ended by NUL, then its input
 *   it answers      "CODE ERRORS OUTPUT\n" (exit code, lengths in bytes), then what goes to standard error and to standard output;
 *                   or "decline\n", when this process has to do it itself
 *
 * Where nobody answers and the agent has left a file that asks for it (src/agent/node-files.ts), this process starts one, for those
 * that come after it: an agent in a container could not, for its paths are not the runtime's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef CULVERT_BUILD
#error "CULVERT_BUILD: the build's name, as a string"
#endif

enum {
	greeting_ms = 1000, /* one that has not greeted by then is stopped, or hopelessly busy */
	answer_ms = 60000,  /* no plugin of ours takes longer */
	retry_seconds = 10,
	step = 16384,
};

#define FOLDER "/run/culvert/serve"

static const char wanted[] = FOLDER "/wanted";

extern char **environ;

struct text {
	char *bytes;
	size_t length, room;
};

static _Noreturn void fail(int code, const char *message, const char *path)
{
	fprintf(stderr, "culvert: %s: %s: %s\n", path, message, strerror(errno));
	if (getenv("CNI_COMMAND"))
		printf("{\"cniVersion\":\"1.1.0\",\"code\":%d,\"msg\":\"%s\"}\n", code, message);
	exit(1);
}

static void append(struct text *text, const void *bytes, size_t length)
{
	if (text->length + length > text->room) {
		text->room = 2 * (text->length + length);
		text->bytes = realloc(text->bytes, text->room);
		if (!text->bytes)
			fail(5, "no memory for the input", "culvert");
	}
	memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
}

/* Everything up to the end; whether it came, and each part of it in time (-1: at any time). */
static int read_all(int fd, struct text *text, int timeout_ms)
{
	char bytes[step];
	for (;;) {
		if (poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, timeout_ms) == 0)
			return 0;
		ssize_t n = read(fd, bytes, sizeof bytes);
		if (n == 0)
			return 1;
		if (n > 0)
			append(text, bytes, n);
		else if (errno != EINTR && errno != EAGAIN)
			return 0;
	}
}

/* Whether all of it went, each part in time. */
static int write_all(int fd, const char *bytes, size_t length, int timeout_ms)
{
	while (length > 0) {
		ssize_t n = write(fd, bytes, length);
		if (n > 0)
			bytes += n, length -= n;
		else if (n < 0 && errno != EINTR && errno != EAGAIN)
			return 0;
		else if (poll(&(struct pollfd){ fd, POLLOUT, 0 }, 1, timeout_ms) == 0)
			return 0;
	}
	return 1;
}

static const char *node_path(void)
{
	static char path[PATH_MAX + 16];
	char own[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
	if (length < 0)
		fail(100, "cannot tell where this program is", "/proc/self/exe");
	own[length] = 0;
	snprintf(path, sizeof path, "%s/culvert-node", dirname(own));
	return path;
}

/* Becomes the Node executable. `input`: what has been read of standard input, to be read again. */
static _Noreturn void become_node(char **argv, const struct text *input)
{
	const char *path = node_path();
	if (input) {
		int copy = memfd_create("stdin", 0);
		if (copy < 0 || !write_all(copy, input->bytes, input->length, -1) || lseek(copy, 0, SEEK_SET) < 0 || dup2(copy, 0) < 0)
			fail(5, "cannot keep the input", "stdin");
	}
	execv(path, argv);
	fail(100, "cannot run culvert-node, which belongs beside culvert; `culvert install` puts it there", path);
}

static unsigned long long inode_of(const char *path)
{
	struct stat found;
	return stat(path, &found) == 0 ? found.st_ino : 0;
}

/* The descriptor of who answers in our namespaces, or -1. Never waits: a queue that is full is one that nobody looks at. */
static int call(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return -1; /* ours would take its place */
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof address.sun_path, FOLDER "/%llu-%llu-%llu-%llu", inode_of("/proc/self/ns/net"),
		 inode_of("/proc/self/ns/mnt"), inode_of("/proc/self/ns/pid"), inode_of("/"));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Whether we are where the host's own processes are, and not in namespaces that somebody made for this one execution. */
static int is_at_home(void)
{
	return inode_of("/proc/1/ns/net") == inode_of("/proc/self/ns/net") && inode_of("/proc/1/ns/mnt") == inode_of("/proc/self/ns/mnt");
}

/* Starts one that answers, where that is wanted and was not tried just now. It has nothing of the runtime's: no pipe, no variable. */
static void start_serving(void)
{
	struct stat file;
	if (stat(wanted, &file) != 0 || llabs((long long)time(NULL) - file.st_mtime) < retry_seconds)
		return;
	char *argv[] = { "culvert", "serve", "--while-wanted", NULL };
	char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	const char *path = node_path();
	if (utimensat(AT_FDCWD, wanted, NULL, 0) != 0 || fork() != 0)
		return;
	int null = open("/dev/null", O_RDWR);
	if (null < 0 || setsid() < 0 || chdir("/") != 0)
		_exit(1);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close_range(3, ~0U, 0);
	execve(path, argv, env);
	_exit(1);
}

/* Whether it greets in time, and is the same build. */
static int is_greeted(int fd)
{
	static const char want[] = "culvert " CULVERT_BUILD "\n";
	char got[sizeof want - 1];
	if (poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, greeting_ms) != 1)
		return 0;
	return recv(fd, got, sizeof got, 0) == sizeof got && memcmp(got, want, sizeof got) == 0;
}

/* Sends the execution, and reads the answer up to its end. One that ends meanwhile may have declined before. */
static void ask(int fd, const char *name, const struct text *input, struct text *answer)
{
	struct text names = { 0 };
	char head[64];
	append(&names, name, strlen(name) + 1);
	for (char **variable = environ; *variable; variable++)
		append(&names, *variable, strlen(*variable) + 1);
	int length = snprintf(head, sizeof head, "%zu %zu\n", names.length, input->length);
	signal(SIGPIPE, SIG_IGN);
	if (write_all(fd, head, length, answer_ms) && write_all(fd, names.bytes, names.length, answer_ms))
		write_all(fd, input->bytes, input->length, answer_ms);
	read_all(fd, answer, answer_ms);
	signal(SIGPIPE, SIG_DFL);
	free(names.bytes);
}

/* Says what it answered and ends with its exit code; comes back when that was no whole answer. */
static void pass_on(const struct text *answer)
{
	int code;
	size_t errors, output;
	const char *end = strchr(answer->bytes, '\n');
	if (!end || sscanf(answer->bytes, "%d %zu %zu", &code, &errors, &output) != 3)
		return;
	size_t head = end + 1 - answer->bytes;
	if (answer->length != head + errors + output + 1) /* with the NUL that ends it here */
		return;
	signal(SIGPIPE, SIG_IGN);
	write_all(2, answer->bytes + head, errors, -1);
	write_all(1, answer->bytes + head + errors, output, -1);
	exit(code);
}

int main(int argc, char **argv)
{
	const char *verb = getenv("CNI_COMMAND");
	int fd = verb && argc == 1 ? call() : -1;
	if (fd < 0) {
		if (verb && argc == 1 && is_at_home())
			start_serving();
		become_node(argv, NULL);
	}
	struct text input = { 0 }, answer = { 0 };
	if (!is_greeted(fd) || !read_all(0, &input, -1)) {
		close(fd);
		become_node(argv, NULL);
	}
	const char *slash = strrchr(argv[0], '/');
	ask(fd, slash ? slash + 1 : argv[0], &input, &answer);
	append(&answer, "", 1);
	pass_on(&answer);
	/* An ADD of which nobody knows how far it came must not be begun again; what the other verbs do may be done twice. */
	errno = ECONNRESET;
	if (strcmp(verb, "ADD") == 0 && strcmp(answer.bytes, "decline\n") != 0)
		fail(11, "culvert serve gave no answer to this; try again", argv[0]);
	become_node(argv, &input);
}
