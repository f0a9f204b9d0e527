"""Training, model packages and endpoints on Amazon SageMaker, by boto3; only pipeline_steps.py uses the SDK."""
