"""Later versions of the template: `sluice upgrade`."""
