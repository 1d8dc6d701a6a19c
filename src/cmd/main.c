/* main.c - finds the subcommand and runs it. Nothing is opened here that a subcommand may not need. */
#include "cmd/cmd.h"

#include "base/utf8.h"

#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

const struct command commands[] = {
#define COMMAND(name, usage, about) { #name, cmd_##name, usage, about },
#include "cmd/table.def"
#undef COMMAND
};
const size_t ncommands = ARRAY_SIZE(commands);

void print_safe(FILE *f, struct str text)
{
    cleanup(buf_done) struct buf out = {0};

    utf8_add_printable(&out, text);
    fwrite(buf_str(&out).p, 1, out.n, f);
    fflush(f);
}

int fail(enum status status, const char *fmt, ...)
{
    cleanup(freep) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    fputs("rein: ", stderr);
    print_safe(stderr, str_of(text));           /* a server's words may be in it */
    fputc('\n', stderr);
    return (int)status;
}

int rein_home(char **ret, struct err *e)
{
    const char *home = getenv("REIN_HOME"), *user = getenv("HOME");

    if (home && *home == '/')
        *ret = xstrdup(home);
    else if (home && *home)
        return err_set(e, -EINVAL, "REIN_HOME is '%s'; it has to be an absolute path", home);
    else if (user && *user == '/')
        *ret = xasprintf("%s/.rein", user);
    else
        return err_set(e, -ENOENT, "neither REIN_HOME nor HOME is set: rein needs a place for its sessions");
    return 0;
}

int cmd_version(struct invocation *in)
{
    (void)in;
    puts("rein " REIN_VERSION);
    return STATUS_DONE;
}

int cmd_help(struct invocation *in)
{
    cleanup(buf_done) struct buf out = {0};

    (void)in;
    buf_adds(&out, "rein - an agent runtime and coding agent\n\n");
    for (size_t i = 0; i < ncommands; i++) {
        cleanup(freep) char *call = xasprintf("rein %s %s", commands[i].name, commands[i].usage);

        buf_addf(&out, "  %-66s %s\n", call, commands[i].about);
    }
    buf_adds(&out, "\nOptions:\n");
    options_help(&out);
    buf_adds(&out, "\nStatus: 0 done, 1 failed, 2 usage, 3 needs a decision, 4 budget reached, 5 model unreachable or refused,\n"
                   "        6 stopped by a guard, 7 a promised protection is not available, 130 interrupted\n");
    fputs(out.p, stdout);
    return STATUS_DONE;
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < ncommands; i++)
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

/* The subcommand is the first argument, unless a switch stands for one. */
static int choose(struct invocation *in)
{
    const char *name = in->opt.version ? "version" : in->opt.help ? "help" : in->opt.print ? "exec" : NULL;

    if (!name && in->nargs) {
        name = *in->args++;
        in->nargs--;
    } else if (in->opt.print && in->nargs && strcmp(in->args[0], "exec") == 0) {
        in->args++;
        in->nargs--;
    }
    if (!name)
        return fail(STATUS_USAGE, "say what to do: rein exec \"PROMPT\" runs a task, rein help lists the rest");
    in->command = find(name);
    if (!in->command)
        return fail(STATUS_USAGE, "there is no command '%s'; rein exec \"PROMPT\" runs a task, rein help lists the rest", name);
    return 0;
}

/* A descriptor below 3 that is closed would be taken by the first file that is opened, and written to as if it were a screen. */
static void open_standard(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
            _exit(STATUS_FAILED);
}

int main(int argc, char **argv)
{
    struct invocation in = {0};
    struct err e = {0};
    char **args = xcalloc((size_t)argc + 1, sizeof(*args));
    int r;

    open_standard();
    in.args = args;
    r = options_parse(&in.opt, argv + 1, (size_t)argc - 1, in.args, &in.nargs, &e);
    r = r < 0 ? fail(STATUS_USAGE, "%s", e.msg) : choose(&in);
    if (r == 0)
        r = in.command->run(&in);
    free(args);
    return r;
}
