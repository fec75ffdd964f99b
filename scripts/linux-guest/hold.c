/* Holds the bytes of all files of a folder in anonymous memory, for ever.
 * usage: hold FOLDER
 * Returns when they are read; a child process keeps them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t hold(const char *name)
{
    struct stat st;
    int fd = open(name, O_RDONLY);
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) return 0;
    size_t at = 0;
    char *bytes = malloc(st.st_size);
    while (bytes && at < (size_t)st.st_size) {
        ssize_t n = read(fd, bytes + at, st.st_size - at);
        if (n <= 0) break;
        at += n;
    }
    close(fd);
    return at;
}

int main(int argc, char **argv)
{
    size_t total = 0;
    DIR *dir;
    if (argc < 2 || chdir(argv[1]) || !(dir = opendir("."))) return 1;
    for (struct dirent *e; (e = readdir(dir));) total += hold(e->d_name);
    closedir(dir);
    printf("HELD kb=%zu\n", total >> 10);
    fflush(stdout);
    if (fork()) _exit(0);
    chdir("/");
    for (;;) pause();
}
