/* rules.h - which commands may run outside the box without a person's word.
 *
 * A line is understood when it is plain words, quoted or not, joined by && || ; and |. Whatever else a shell has (expansions,
 * redirections, assignments, escapes, patterns, comments, background) is not read at all: such a line asks. So does every
 * command that is not in the table of harmless ones (rules.def), and every option that is not in its row. What a person allows
 * by a prefix ("git commit") is held to the same table; a command that has no row is allowed exactly as the prefix says, and an
 * interpreter, or what runs others, never. */
#pragma once

#include "base/buf.h"
#include "core/rules_git.h"

enum rule_verdict { RULE_ALLOW, RULE_ASK, RULE_DENY };

#define RULES_LINE_MAX     4000         /* bytes; longer lines are not read */
#define RULES_COMMANDS_MAX 32

struct rule_command {
    char **argv;                        /* NULL at the end */
    size_t argc, cap;
    char join;                          /* what stands behind it: '|', 'a' for &&, 'o' for ||, 0 for ; and the end */
    enum rule_verdict verdict;
    bool unknown;                       /* it has no row: it is allowed by a person's word alone */
    char why[RULES_GIT_WHY];            /* a sentence */
};

struct rule_line {
    struct rule_command v[RULES_COMMANDS_MAX];
    size_t n;
    enum rule_verdict verdict;          /* of the whole: the strictest */
    char why[RULES_GIT_WHY];
};

/* Judges a line as it would run in the directory `from` of the workspace `root`, absolute paths without links. `allow`: prefixes,
 * words with blanks between. What a repository in the workspace says is read by way of `env` (NULL: by this process). */
CO void rules_judge(struct env *env, const char *root, const char *from, struct str line, const char *const *allow, size_t nallow,
                    struct rule_line *ret);

/* The words of the row that a command would have to be allowed by, or NULL: it has none. */
const char *rules_row(const struct rule_command *c);

void rules_done(struct rule_line *l);
