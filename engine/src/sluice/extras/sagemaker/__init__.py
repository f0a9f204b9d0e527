"""Amazon SageMaker: what it is asked for, what that costs, how a run is followed, which model packages are approved.

All of it by boto3; the SDK is needed by pipelines/sagemaker.py alone, which has an environment of its own.
"""
