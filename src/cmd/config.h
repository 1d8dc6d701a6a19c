/* config.h - what a user has set up: REIN_HOME/config.yaml.
 *
 *     mode: ask                       any option that help lists, by its name; the command line comes first
 *     providers:                      services, beside those that rein knows
 *       work:
 *         like: openai                as that one, but for what follows; or nothing
 *         api: chat
 *         base_url: https://llm.example.com/v1
 *         key_env: WORK_KEY           or key_command: a command that prints the key
 *         local: true                 what is private may go there
 *         members: {"user": "me"}     of every request
 *         strict: true
 *     models:
 *       work/big: {context: 200000, output: 32000, images: true, price: {in: 1.25, cached: 0.125, written: 1.5, out: 10}}
 *     roles:                          names that --model takes
 *       small: deepseek/deepseek-chat
 *
 *     budgets:                        names that --budget takes, in dollars, for all sessions that name it
 *       team: 20
 *
 *     private: ["customers/", "*.pem"]        files, as a .gitignore has them, whose content only local models are given
 *     routes:                         the first that fits says which model the next request goes to; nothing else changes the model
 *       - {private: true, to: local}                   private data is in the session
 *       - {role: main, tokens_above: 150000, to: big}
 *       - {usd_above: 2, to: small}                    the session has cost more
 *       - {failed: true, to: small}                    the model has failed for good
 *     network:                        hosts that are reached without a question in mode auto (core/egress.h)
 *       - docs.python.org
 *       - {host: "*.example.org", port: 8443, fetch_only: true}
 *     environment: [GITHUB_TOKEN]     variables that commands get although their names say that they are secret
 *
 * A repository has no say in any of this. */
#pragma once

#include "cmd/cmd.h"
#include "core/provider.h"

struct config {
    json_t *tree;               /* NULL: there is none */
    char *path;
    struct made_service {
        struct service service;
        char *members, *key_command;
        struct made_service *next;
    } *made;
};

/* 0 also when there is no such file. -EBADMSG says what is wrong and where. */
int config_load(const char *home, struct config *ret, struct err *e);
void config_done(struct config *c);

/* Learns which values of the environment are secrets. */
void config_environment(const struct config *c);

/* Fills in the options that the command line leaves open. */
int config_options(const struct config *c, struct options *opt, struct err *e);

/* A service by the PROVIDER of PROVIDER/NAME: the user's, else one that rein knows; NULL with 0 for none. */
int config_service(struct config *c, struct str name, const struct service **ret, struct err *e);

/* All services: the user's, and those that rein knows under names that the user does not use. The caller frees the array. */
int config_services(struct config *c, const struct service ***ret, size_t *ret_n, struct err *e);

/* What the user says of a model, over what rein knows. */
int config_facts(const struct config *c, const char *id, struct facts *ret, struct err *e);

/* The model that a role stands for, or NULL. */
const char *config_role(const struct config *c, const char *role);

/* What a shared budget holds, in billionths of a dollar. -ENOENT when there is none of that name. */
int config_budget(const struct config *c, const char *name, int64_t *ret, struct err *e);

/* The command that prints the key of a service that config_service made, or NULL. */
const char *config_key_command(const struct config *c, const struct service *s);
