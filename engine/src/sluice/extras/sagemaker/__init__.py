"""Amazon SageMaker: training and embedding jobs, cost, monitoring of runs, approval of model packages.

All of it by boto3; the SDK is needed by pipeline_steps.py alone, which runs in an environment of its own.
"""
