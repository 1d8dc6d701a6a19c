/* policy.h - what may run, what is asked. What is possible is the box's business, not this file's. */
#pragma once

#include "core/grants.h"
#include "core/rules.h"
#include "core/tool.h"

struct session;

enum verdict { POLICY_ALLOW, POLICY_ASK, POLICY_DENY };

struct ruling {
    enum verdict verdict;
    bool plain;                     /* it was allowed for what its words are: nothing may give them another meaning */
    bool listed;                    /* it was allowed for the host that it names, at addresses that are meant by that (egress.h) */
    char why[RULES_GIT_WHY + 300];   /* a sentence for the log, for the person who is asked, and for the model that is refused */
};

/* Judges a call by the session's mode, the rules for commands, and what the user has allowed so far. */
CO int policy_judge(struct session *s, const struct tool *tool, const json_t *args, struct ruling *ret, struct err *e);

/* What would have to be allowed, so that a call like this one is not asked about any more. -EINVAL says why it always is. The
 * grants' texts are the caller's; root, session and times are not filled in. */
CO int policy_grants(struct session *s, const struct tool *tool, const json_t *args, struct grants *ret, struct err *e);

/* 0, or -EINVAL for a word that is no mode. */
int policy_mode(const char *mode, struct err *e);

/* Whether commands run in a box in this mode, and must not run without. */
bool policy_boxes(const char *mode);

/* Whether all that is changed in this mode lies in one layer, until a person has seen it. */
bool policy_plans(const char *mode);
