"""Amazon SageMaker: training and embedding jobs, cost, monitoring of runs, approval of model packages.

All of it by boto3; the SDK is needed by pipelines/sagemaker.py alone, which has an environment of its own.
"""
