/* msg.h - what a model is shown and what it says, apart from any wire format. All text is borrowed. */
#pragma once

#include "base/str.h"

enum role { ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL };

struct msg_call {
    struct str id, name;
    struct str args;            /* as received */
};

struct msg {
    enum role role;
    struct str text;
    struct str extra;           /* assistant: JSON object of the dialect's fields to give back as received, or empty */
    const struct msg_call *calls;
    size_t ncalls;
    struct str call_id;         /* tool */
    bool is_error;              /* tool */
    struct str image_type, image;       /* user: an image beside the text, in base64; or empty */
};
