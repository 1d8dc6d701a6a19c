/* search.c - a search as the tools grep and glob make it, as a program that prints what was found:
 *
 *     search DIR lines|files|counts|names PATTERN [all|literal|nocase]... */
#include "env/local.h"
#include "rt/loop.h"

#include <stdio.h>

static char **args;
static int nargs;

static bool has(const char *word)
{
    for (int i = 4; i < nargs; i++)
        if (strcmp(args[i], word) == 0)
            return true;
    return false;
}

static CO int run(void *arg)
{
    struct env_search what = {
        .path = LIT("."), .max = (size_t)64 << 20, .all = has("all"), .literal = has("literal"), .ignore_case = has("nocase"),
    };
    struct env_found found = {0};
    struct env *env;
    struct err e = {0};
    int r = env_local(args[1], "/nonexistent", &env, &e);

    (void)arg;
    if (strcmp(args[2], "names") == 0)
        what.globs = str_of(args[3]);
    else
        what.pattern = str_of(args[3]);
    what.find = strcmp(args[2], "lines") == 0 ? ENV_FIND_LINES : strcmp(args[2], "counts") == 0 ? ENV_FIND_COUNTS : ENV_FIND_FILES;
    if (r == 0) {
        r = env_search(env, &what, &found, &e);
        env_free(env);
    }
    if (r < 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 2;
    }
    fwrite(buf_str(&found.text).p, 1, found.text.n, stdout);
    buf_done(&found.text);
    return found.files ? 0 : 1;
}

static void on_signal(int signo)
{
    (void)signo;
}

int main(int argc, char **argv)
{
    args = argv;
    nargs = argc;
    return argc < 4 ? 2 : loop_run(run, NULL, on_signal);
}
