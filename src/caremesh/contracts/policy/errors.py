"""What the policy contract refuses, and what to do about it. Codes are never reused or renumbered."""

from __future__ import annotations

from caremesh.errors import ErrorCode

NOT_AUTHORISED = ErrorCode(
    "policy.01",
    "Only a quorum of the network's authorities may change the regulations in force.",
    "Have enough authorities sign the same transaction.",
)
TOO_EARLY = ErrorCode(
    "policy.02",
    "Regulations change at a later block than the one that holds the message.",
    "Name a later height.",
)
TOO_LARGE = ErrorCode("policy.03", "The text of a policy set is longer than 48 KiB.", "Split the set or shorten it.")
NOT_VALID = ErrorCode(
    "policy.04",
    "The text is not a policy set that the schema allows.",
    "Check names of attributes, actions, roles, bases and approvals against the schema.",
)
EMPTY_SET = ErrorCode(
    "policy.05", "A policy set holds between 1 and 128 policies and no template.", "Write every policy out."
)
BAD_ANNOTATION = ErrorCode(
    "policy.06",
    "A policy has exactly the annotations @id, @legal and @sentence, none empty.",
    "Write an id of lower-case letters, digits, dots and dashes, the article, and a plain sentence.",
)
DUPLICATE_ID = ErrorCode("policy.07", "Two policies of the set have the same @id.", "Rename one of them.")
UNKNOWN_PURPOSE = ErrorCode(
    "policy.08", "A policy names a purpose that is not in the vocabulary.", "Use a code of HL7 v3 PurposeOfUse."
)
BAD_TEST = ErrorCode(
    "policy.09",
    "A test of the set does not describe a request.",
    "Change only fields that the base request has, with values of their type.",
)
UNKNOWN_POLICY = ErrorCode("policy.10", "A test is about a policy that the set does not hold.", "Correct its name.")
NOT_FLIPPED = ErrorCode(
    "policy.11",
    "Taking a policy out does not change the answer to the request that should show its effect.",
    "Give a request that this policy alone decides.",
)
NOT_LEFT_ALONE = ErrorCode(
    "policy.12",
    "A policy decides the request that it should leave alone.",
    "Give a request with an answer in which this policy has no part.",
)
UNTESTED = ErrorCode(
    "policy.13", "A policy of the set has no test.", "Add a request that it decides and one that it leaves alone."
)
NOT_IN_FORCE = ErrorCode(
    "policy.14", "No version of this policy set is in force or waiting at that height.", "Check the set's name."
)
SAME_TEXT = ErrorCode(
    "policy.15", "This is the version that is in force or waiting already.", "Nothing needs to be done."
)
UNKNOWN_VERSION = ErrorCode(
    "policy.16", "The ledger holds no such version of a policy set.", "Ask at a height when the set was in force."
)
BAD_JURISDICTION = ErrorCode(
    "policy.17",
    "Jurisdictions are listed in alphabetical order, each once.",
    "Sort them; leave the list empty for a set that applies everywhere.",
)
TOO_DEEP = ErrorCode(
    "policy.18",
    "A policy nests deeper than 8 brackets or chains more than 32 operators.",
    "Split it into several policies.",
)
UNKNOWN_APPROVAL = ErrorCode(
    "policy.19", "This approval is not in the vocabulary.", "Use one that policies can speak of."
)
BAD_UNTIL = ErrorCode("policy.20", "An approval ends at midnight UTC of a later day.", "Change its end.")
NOT_A_MEMBER = ErrorCode("policy.21", "An approval is that of a member of this network.", "Check the DID.")
NOT_APPROVED = ErrorCode("policy.22", "The member has no such approval.", "Nothing needs to be done.")
NAME_TAKEN = ErrorCode("policy.23", "No policy set is called `policy`.", "Give the set another name.")
