/* Runs a program and records what it does to files: RECORDING=FILE RECORDED=PROGRAM recorder WORD …
 *
 * Each thread stops at the system calls that change files or make changes durable, and nowhere else (seccomp). A record
 * is eight numbers of eight bytes each (kind, offset, length, flags, two lengths of paths, 0, 0), the paths, the data.
 * When this process ends, so does the program (PTRACE_O_EXITKILL). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, SYNC, RENAME, UNLINK, TRUNCATE };
static const int CALLS[] = {SYS_openat, SYS_write, SYS_pwrite64, SYS_fsync, SYS_fdatasync, SYS_renameat,
#ifdef SYS_rename
                            SYS_rename,
#endif
#ifdef SYS_unlink
                            SYS_unlink,
#endif
                            SYS_renameat2, SYS_unlinkat, SYS_ftruncate};
#define COUNT (sizeof CALLS / sizeof *CALLS)
#define THREADS 65536

struct entry { pid_t tid; uint64_t number, args[6]; };
static struct entry entered[THREADS];
static int out;

static struct entry *entry_of(pid_t tid) {
    for (unsigned at = (unsigned)tid % THREADS;; at = (at + 1) % THREADS)
        if (entered[at].tid == tid || !entered[at].tid) return entered[at].tid = tid, &entered[at];
}

static void fail(const char *what) { perror(what); exit(97); }

static void text_at(pid_t tid, uint64_t where, char *path) {
    struct iovec mine = {path, 4095}, theirs = {(void *)where, 4095};
    memset(path, 0, 4096);
    while (theirs.iov_len && process_vm_readv(tid, &mine, 1, &theirs, 1, 0) < 0)
        mine.iov_len = theirs.iov_len = theirs.iov_len / 2;   /* the end of a page */
}

static void name_of(pid_t tid, uint64_t fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/fd/%d", tid, (int)fd);
    memset(path, 0, 4096);
    if (readlink(link, path, 4095) < 0) *path = 0;
}

static uint64_t position(pid_t tid, uint64_t fd) {
    char link[64], said[64] = "";
    unsigned long long found = 0;
    snprintf(link, sizeof link, "/proc/%d/fdinfo/%d", tid, (int)fd);
    FILE *info = fopen(link, "r");
    if (info) { if (fgets(said, sizeof said, info)) sscanf(said, "pos: %llu", &found); fclose(info); }
    return found;
}

static void record(uint64_t kind, const char *path, const char *other, uint64_t offset, const void *data, uint64_t length,
                   uint64_t flags) {
    uint64_t head[8] = {kind, offset, length, flags, strlen(path), strlen(other), 0, 0};
    struct iovec parts[] = {{head, sizeof head}, {(void *)path, head[4]}, {(void *)other, head[5]}, {(void *)data, length}};
    if (*path == '/' && strncmp(path, "/proc/", 6) && strncmp(path, "/dev/", 5) && strncmp(path, "/sys/", 5))
        if (writev(out, parts, 4) < 0) fail("writev");
}

static void done(pid_t tid, const struct entry *call, int64_t result) {
    static char path[4096], other[4096], *data;
    const uint64_t *a = call->args;
    if (result < 0) return;
    switch (call->number) {
    case SYS_openat:
        if (a[2] & (O_CREAT | O_TRUNC)) { name_of(tid, (uint64_t)result, path); record(OPEN, path, "", 0, "", 0, a[2]); }
        break;
    case SYS_write: case SYS_pwrite64: {
        name_of(tid, a[0], path);
        uint64_t at = call->number == SYS_pwrite64 ? a[3] : position(tid, a[0]) - (uint64_t)result;
        struct iovec mine, theirs = {(void *)a[1], (size_t)result};
        if (!(data = realloc(data, (size_t)result + 1))) fail("realloc");
        mine = (struct iovec){data, (size_t)result};
        if (*path == '/' && process_vm_readv(tid, &mine, 1, &theirs, 1, 0) != result) fail("process_vm_readv");
        record(WRITE, path, "", at, data, (uint64_t)result, 0);
        break;
    }
    case SYS_fsync: case SYS_fdatasync: name_of(tid, a[0], path); record(SYNC, path, "", 0, "", 0, 0); break;
    case SYS_ftruncate: name_of(tid, a[0], path); record(TRUNCATE, path, "", a[1], "", 0, 0); break;
    case SYS_unlinkat: text_at(tid, a[1], path); record(UNLINK, path, "", 0, "", 0, 0); break;
    case SYS_renameat: case SYS_renameat2:
        text_at(tid, a[1], path); text_at(tid, a[3], other); record(RENAME, path, other, 0, "", 0, 0); break;
#ifdef SYS_rename
    case SYS_rename: text_at(tid, a[0], path); text_at(tid, a[1], other); record(RENAME, path, other, 0, "", 0, 0); break;
#endif
#ifdef SYS_unlink
    case SYS_unlink: text_at(tid, a[0], path); record(UNLINK, path, "", 0, "", 0, 0); break;
#endif
    }
}

static void child(char **words) {
    struct sock_filter code[COUNT + 3];
    struct sock_fprog filter = {COUNT + 3, code};
    code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned at = 0; at < COUNT; at++)
        code[at + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)CALLS[at], (uint8_t)(COUNT - at), 0);
    code[COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[COUNT + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    if (ptrace(PTRACE_TRACEME, 0, 0, 0)) fail("traceme");
    raise(SIGSTOP);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) fail("seccomp");
    execv(words[0], words);
    fail("exec");
}

static pid_t first;
static void pass_on(int number) { kill(first, number); }

int main(int count, char **words) {
    int status;
    out = open(getenv("RECORDING"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (out < 0 || count < 1) fail("recording");
    words[0] = getenv("RECORDED");
    if (!(first = fork())) child(words);
    signal(SIGTERM, pass_on);
    signal(SIGINT, pass_on);
    if (waitpid(first, &status, 0) < 0 || !WIFSTOPPED(status)) fail("first stop");
    if (ptrace(PTRACE_SETOPTIONS, first, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL))
        fail("options");
    ptrace(PTRACE_CONT, first, 0, 0);
    for (;;) {
        pid_t tid = waitpid(-1, &status, __WALL);
        if (tid < 0) { if (errno == EINTR) continue; fail("wait"); }
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (tid == first) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        struct __ptrace_syscall_info info;
        int number = WSTOPSIG(status), event = status >> 16;
        if (event == PTRACE_EVENT_SECCOMP) {
            struct entry *call = entry_of(tid);
            if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) > 0) {
                call->number = info.seccomp.nr;
                memcpy(call->args, info.seccomp.args, sizeof call->args);
            }
            ptrace(PTRACE_SYSCALL, tid, 0, 0);
        } else if (number == (SIGTRAP | 0x80)) {
            if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) > 0 && info.op == PTRACE_SYSCALL_INFO_EXIT)
                done(tid, entry_of(tid), info.exit.rval);
            ptrace(PTRACE_CONT, tid, 0, 0);
        } else {
            int passed = event || number == SIGSTOP || number == SIGTRAP ? 0 : number;
            ptrace(PTRACE_CONT, tid, 0, passed);
        }
    }
}
