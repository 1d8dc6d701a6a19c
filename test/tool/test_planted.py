"""Guards of modes, rules and labels: each is trusted once a planted defect has turned its test red. One of them here, all with --full."""
import os
import subprocess
import sys
import tempfile

from crash.test_defects import build
from lib.rein import PLANTED, TOP, Skip, check

FULL = False
ALWAYS = "secrets in results"

# name: (file, old text, new text, the test that must fail)
DEFECTS = {
    "secrets in results": ("src/core/labels.c", "is_secret_file(l, b) || holds(l->secrets, text, 0))\n            note(ev->seq, what", "is_secret_file(l, b))\n            note(ev->seq, what",
                           "tool/three_do_not_meet"),
    "what git is made to run": ("src/core/rules.c", "if (!rules_git_quiet(place->env, place->root, place->dirs[i], changes, why))", "if (i > 99 && !rules_git_quiet(place->env, place->root, place->dirs[i], changes, why))",
                                "tool/rules_of_repositories"),
    "addresses": ("src/tool/web.c", "    return egress_address(host, addr);", "    return egress_address(host, addr) || addr;", "tool/hosts_of_the_list"),
    "another session's grants": ("src/core/grants.c", "(!g->session || strcmp(g->session, session) == 0)", "(!g->session || session)", "tool/words_that_last"),
    "another meaning": ("src/core/calls.c", "strcmp(cv->hash, call_hash(tool, args, hex)) == 0", "call_hash(tool, args, hex)", "tool/a_word_for_another_meaning"),
    "what a shell has kept": ("src/tool/bash.c", ".plain = c->plain, .dir", ".plain = false, .dir", "tool/plain_commands_take_nothing_over"),
    "links in place of files": ("src/core/policy.c", "(w->kind != GRANT_WRITE || is_itself(text))", "(w->kind != GRANT_WRITE || is_itself(text) || w)", "tool/words_that_last"),
    "what leaves in mode auto": ("src/core/policy.c", "    if (!w.n || w.unlisted) {", "    if (!w.n) {", "tool/hosts_of_the_list"),
    "files that rein opens": ("src/core/rules_git.c", "    return l->env && path_beneath(l->root, real, &below);", "    return l->env && path_beneath(l->root, real, &below) && !real;",
                              "tool/rein_opens_nothing_of_the_workspace"),
    "what the box hides": ("src/files/ops.c", "    if (is_hidden(o, &st))\n", "    if (is_hidden(o, &st) && o->q->context)\n", "tool/what_the_box_hides"),
    "what waits for a person": ("src/files/layer_apply.c", "        if (held.n) {\n", "        if (held.n > 1 << 20) {\n", "peer/what_is_protected_waits"),
    "what somebody else changed": ("src/files/layer_walk.c", "is_later(&old.st_ctim, &l->began) && !is_re", "is_later(&old.st_ctim, &l->began) && depth > 999 && !is_re",
                                   "peer/someone_else_changes_it"),
    "settings that run something": ("src/files/guard_judge.c", "    return odd.n == had.n && (", "    return odd.n != 1 || (", "peer/git_is_judged_by_key"),
    "what was put into a new folder": ("src/files/layer_apply.c", "count_below(sides->there, name, 0) != below", "count_below(sides->there, name, 0) < below", "peer/what_others_did"),
    "what a person was told of": ("src/cmd/cmd_undo.c", "strcmp(layer_list_hash(buf_str(ret), hex), waits) == 0 ? 0 :", "layer_list_hash(buf_str(ret), hex) ? 0 :", "peer/who_waits_is_what_was_seen"),
    "folders that are renamed": ("src/box/across.c", "    below = fd >= 0 && lies_below", "    below = fd >= 4096 && lies_below", "peer/what_a_layer_cannot_do"),
    "an undo that is not said": ("src/cmd/undo.c", "    log_stage(&h->log, EV_UNDO, 0, FROM_USER, &body);\n    r = log_commit(&h->log, e);\n    return r", "    buf_done(&body);\n    r = 0;\n    return r",
                                 "peer/steps_turns_and_events"),
    "a file that only says where git is": ("src/files/worktree.c", "    return own && strcmp(own, want) == 0;", "    return own || want;", "peer/git_outside_of_the_workspace"),
    "an index that says something else": ("src/files/git_index.c", "    if (!p || !each_entry(p, size, add_entry, &h))\n        return false;\n    hashing_add(&h, p, 12);", "    if (!p || !add_entry)\n        return false;",
                                          "peer/who_looks_with_git_meanwhile"),
    "whose layer it is": ("src/files/layer_plan.c", "    return strcmp(seal, want) == 0 ? 0 : -EBADMSG;", "    return *seal ? 0 : -EBADMSG;", "peer/layers_that_a_repository_brings"),
    "a plan that is in place already": ("src/cmd/boxes.c", "        a->plan = box->plan;", "        a->plan = NULL, box->plan = NULL;", "peer/a_plan_and_its_end"),
    "whose key it is": ("src/core/egress.c", "    h->key_env = str_dup(variable);\n", "    h->key_env = NULL;\n", "peer/keys_are_put_in"),
    "three that meet": ("src/core/policy.c", "    rule(ret, POLICY_ASK, \"%s\", met.msg);\n    return 1;", "    return 0;",
                        "peer/nothing_planted_comes_to_pass"),
}


def test_planted_defects():
    if PLANTED:
        return 1
    names = list(DEFECTS) if FULL else [ALWAYS]
    for name in names:
        path, old, new, test = DEFECTS[name]
        with tempfile.TemporaryDirectory() as top:
            folder = build(top, path, old, new, False)
            out = subprocess.run([sys.executable, os.path.join(TOP, "test", "run.py"), test], env=dict(os.environ, REIN_TEST_PLANTED=os.path.join(folder, "rein")),
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            if b"0 failed, 1 skipped" in out.stdout:
                raise Skip(f"{test} cannot be shown here")
            check(out.returncode == 1 and b"1 failed" in out.stdout, f"the planted defect '{name}' was not found by {test}", out.stdout[-600:])
    return len(names)
