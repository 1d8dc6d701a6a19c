/* msg.h - what a model is shown and what it says, apart from any wire format. All text is borrowed. */
#pragma once

#include "base/str.h"

enum role { ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL };

struct msg_call {
    struct str id, name;
    struct str args;            /* as received */
    bool custom;                /* it came as plain text, which is the one argument */
};

struct msg {
    enum role role;
    struct str text;
    struct str reasoning;       /* assistant: in plain words, or empty */
    struct str extra;           /* assistant: JSON object in the form of the API that the request is for, or empty */
    const struct msg_call *calls;
    size_t ncalls;
    struct str call_id, tool;   /* tool: the call's id and the name in it */
    bool is_error, custom;      /* tool; custom: so was its call */
    struct str image_type, image;       /* user, and tool where the API allows it: an image beside the text, in base64; or empty */
};
