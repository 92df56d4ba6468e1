"""JSON Schema: verdicts, worded errors, and the frozen contract of each workflow version.

The only place that imports `jsonschema` (for words) and `jsonschema_rs` (for verdicts), both when first needed.
"""

from stamp.schema.checker import Checker as Checker
from stamp.schema.checker import entry_checker as entry_checker
from stamp.schema.checker import header_checker as header_checker
from stamp.schema.checker import stamp_checker as stamp_checker
from stamp.schema.contract import Contract as Contract
from stamp.schema.files import drift as drift
from stamp.schema.files import dumps as dumps
from stamp.schema.files import freeze as freeze
from stamp.schema.files import frozen as frozen
from stamp.schema.files import versions as versions
