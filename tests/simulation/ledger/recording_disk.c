/* Preloaded into a process: records, in order, what it writes to data.mdb, when it syncs, and what it acknowledges.
 *
 * A record of the file named by RECORDING: kind, offset, length (8 bytes each, little-endian), then the bytes.
 * Kinds: 1 write, 2 write that is durable when it returns (O_DSYNC), 3 sync, 4 acknowledgement (a write to "acks").
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int recording = -1;

static ssize_t plain_write(int fd, const void *data, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    return real(fd, data, length);
}

static int ends_with(int fd, const char *name) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    size_t wanted = strlen(name);
    return (size_t)length >= wanted && !strcmp(path + length - wanted, name);
}

static void record(uint64_t kind, uint64_t offset, const struct iovec *parts, int count) {
    if (recording < 0) {
        const char *path = getenv("RECORDING");
        if (!path) return;
        recording = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    }
    uint64_t head[3] = {kind, offset, 0};
    for (int at = 0; at < count; at++) head[2] += parts[at].iov_len;
    plain_write(recording, head, sizeof head);
    for (int at = 0; at < count; at++) plain_write(recording, parts[at].iov_base, parts[at].iov_len);
}

static void record_data(int fd, uint64_t offset, const struct iovec *parts, int count) {
    if (ends_with(fd, "/data.mdb")) record(fcntl(fd, F_GETFL) & O_DSYNC ? 2 : 1, offset, parts, count);
}

#define REAL(name, ...) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
    __VA_ARGS__

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    REAL(pwrite, ssize_t done = real(fd, data, length, offset));
    struct iovec part = {(void *)data, done < 0 ? 0 : done};
    record_data(fd, offset, &part, 1);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    REAL(pwrite64, ssize_t done = real(fd, data, length, offset));
    struct iovec part = {(void *)data, done < 0 ? 0 : done};
    record_data(fd, offset, &part, 1);
    return done;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    REAL(pwritev, ssize_t done = real(fd, parts, count, offset));
    record_data(fd, offset, parts, count);
    return done;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    REAL(pwritev64, ssize_t done = real(fd, parts, count, offset));
    record_data(fd, offset, parts, count);
    return done;
}

ssize_t write(int fd, const void *data, size_t length) {
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = plain_write(fd, data, length);
    struct iovec part = {(void *)data, done < 0 ? 0 : done};
    if (fd != recording && ends_with(fd, "/acks")) record(4, 0, &part, 1);
    else if (fd != recording && offset >= 0) record_data(fd, offset, &part, 1);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    off_t offset = lseek(fd, 0, SEEK_CUR);
    REAL(writev, ssize_t done = real(fd, parts, count));
    if (offset >= 0) record_data(fd, offset, parts, count);
    return done;
}

int fdatasync(int fd) {
    REAL(fdatasync, int done = real(fd));
    if (ends_with(fd, "/data.mdb")) record(3, 0, NULL, 0);
    return done;
}

int fsync(int fd) {
    REAL(fsync, int done = real(fd));
    if (ends_with(fd, "/data.mdb")) record(3, 0, NULL, 0);
    return done;
}
