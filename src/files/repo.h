/* repo.h - which files of a repository git leaves out, beside its .gitignore files: .git/info/exclude, and the user's own rules. */
#pragma once

#include "base/ignore.h"

#include <pthread.h>

struct repo;

/* The repository of which a directory is the top, or NULL. The user's rules stay the caller's. */
struct repo *repo_open(int dir, const struct ignore *user);
void repo_free(struct repo *r);         /* takes NULL */

/* What these rules say of a path, relative to the top. */
enum ignored repo_says(const struct repo *r, struct str path, bool is_dir);

/* The rules in a file, or NULL when there are none; `flags` for openat. */
struct ignore *rules_read(int dir, const char *path, int flags);

/* Rules that hold in a workspace and may lie outside of it: the user's, and those of its repository, with those of the directories
 * from its top down to the workspace. Opened while that can be done, and read when they are needed first. */
struct above {
    int user_fd, exclude_fd;
    struct above_dir { char *name; int fd; struct ignore *rules; } *v;
    size_t n;
    pthread_mutex_t lock;
    bool here;                          /* the workspace is the top itself */
    bool read;
    struct ignore *user;
    struct repo *repo;                  /* NULL: the workspace lies in none */
};

void above_open(struct above *a, const char *root, const char *home);
void above_read(struct above *a);
