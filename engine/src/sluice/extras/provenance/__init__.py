"""What a release proves: bill of materials, statements, checksums, and scores that anybody can compute again."""
