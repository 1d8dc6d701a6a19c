/* cmd.h - the command line: what was asked for, and what every subcommand is given. */
#pragma once

#include "base/err.h"
#include "base/js.h"

#include <stdio.h>

/* Exit statuses; they are part of the interface. */
enum status {
    STATUS_DONE = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_DECISION = 3,
    STATUS_BUDGET = 4,
    STATUS_MODEL = 5,
    STATUS_GUARD = 6,
    STATUS_PROTECTION = 7,
    STATUS_INTERRUPTED = 130,
};

#define LIST_MAX 64

struct list {
    const char *v[LIST_MAX];
    size_t n;
};

/* One member per row of src/cmd/options.c. */
struct options {
    const char *dir, *model, *base_url, *api, *key_env, *harness, *mode, *stats, *images, *effort, *ca, *cert, *cert_key, *budget,
    *report, *tier, *layer;
    int64_t max_steps, budget_tokens, budget_usd, timeout, older, retries, backoff, patience;
    int64_t connect_timeout, first_timeout, idle_timeout, request_timeout;
    const char *what;
    bool turn;
    bool json, last, quiet, print, help, version, dry_run;
    struct list decide, answer, allow;
};

struct invocation {
    const struct command *command;
    struct options opt;
    char **args;                /* what is no option, NULL at the end */
    size_t nargs;
};

struct command {
    const char *name;
    int (*run)(struct invocation *in);      /* the exit status */
    const char *usage;                      /* after the name */
    const char *about;                      /* one line */
};

#define COMMAND(name, usage, about) int cmd_##name(struct invocation *in);
#include "cmd/table.def"
#undef COMMAND

extern const struct command commands[];
extern const size_t ncommands;

/* Sorts the command line into options and arguments. -EINVAL with a sentence. */
int options_parse(struct options *opt, char **argv, size_t n, char **args, size_t *ret_nargs, struct err *e);
void options_help(struct buf *out);

/* Sets the option of that name, unless it was set before. -EINVAL for one that has no place in a configuration. The value is
 * borrowed for good. */
int options_config(struct options *opt, const char *name, const json_t *value, struct err *e);

/* Prints text that others wrote so that it cannot drive a terminal. */
void print_safe(FILE *f, struct str text);

/* Prints "rein: " and the sentence, and returns the status. */
int fail(enum status status, const char *fmt, ...) printf_fmt(2, 3);

/* REIN_HOME, or ~/.rein. Caller frees. */
int rein_home(char **ret, struct err *e);
