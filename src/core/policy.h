/* policy.h - what may run, what is asked. What is possible is the box's business, not this file's. */
#pragma once

#include "core/tool.h"

enum verdict { POLICY_ALLOW, POLICY_ASK, POLICY_DENY };

/* `ret_why` is a constant sentence for the log, for the person who is asked, and for the model that is refused. */
enum verdict policy_check(const struct view *v, enum effect effect, const char **ret_why);

/* 0, or -EINVAL for a word that is no mode, or -ENOTSUP for a mode that promises a protection this rein cannot give. */
int policy_mode(const char *mode, struct err *e);

/* Whether commands run in a box in this mode, and must not run without. */
bool policy_boxes(const char *mode);
