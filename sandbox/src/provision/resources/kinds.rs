//! Which types of resources there are, and which properties each may have. Everything else is refused by name.

use crate::provision::shape::{Field, Shape};

/// How a type is made. The order of [`KINDS`] is the order in which resources are made.
pub(super) struct Kind {
    /// The type in `CloudFormation`'s words.
    pub name: &'static str,
    /// The property that holds the physical name.
    pub name_property: &'static [&'static str],
    /// What a template may say of it.
    pub properties: &'static [Field],
}

const TEXTS: Shape = Shape::List(&Shape::Text);

/// Pairs of a container's environment.
const PAIRS: Shape = Shape::List(&Shape::Fields(&[("Name", Shape::Text), ("Value", Shape::Text)]));

const LOG_CONFIGURATION: Shape =
    Shape::Fields(&[("LogDriver", Shape::Text), ("Options", Shape::Texts), ("SecretOptions", Shape::Any)]);

/// A container of a task definition.
const CONTAINER: Shape = Shape::Fields(&[
    ("Name", Shape::Text),
    ("Image", Shape::Text),
    ("Command", TEXTS),
    ("Cpu", Shape::Whole),
    ("EntryPoint", TEXTS),
    ("Environment", PAIRS),
    ("Essential", Shape::Flag),
    ("LogConfiguration", LOG_CONFIGURATION),
    ("Memory", Shape::Whole),
    ("MemoryReservation", Shape::Whole),
    ("ReadonlyRootFilesystem", Shape::Flag),
    ("Secrets", Shape::List(&Shape::Fields(&[("Name", Shape::Text), ("ValueFrom", Shape::Text)]))),
    ("StopTimeout", Shape::Whole),
]);

/// The container of a job definition.
const BATCH_CONTAINER: Shape = Shape::Fields(&[
    ("Image", Shape::Text),
    ("Command", TEXTS),
    ("Environment", PAIRS),
    ("ExecutionRoleArn", Shape::Text),
    ("FargatePlatformConfiguration", Shape::Fields(&[("PlatformVersion", Shape::Text)])),
    ("JobRoleArn", Shape::Text),
    ("LogConfiguration", LOG_CONFIGURATION),
    ("Memory", Shape::Whole),
    ("NetworkConfiguration", Shape::Fields(&[("AssignPublicIp", Shape::Text)])),
    ("ReadonlyRootFilesystem", Shape::Flag),
    ("ResourceRequirements", Shape::List(&Shape::Fields(&[("Type", Shape::Text), ("Value", Shape::Text)]))),
    ("Vcpus", Shape::Whole),
]);

/// Who hears of a bucket's objects: queues only.
const NOTIFICATIONS: Shape = Shape::Fields(&[(
    "QueueConfigurations",
    Shape::List(&Shape::Fields(&[
        ("Event", Shape::Text),
        ("Queue", Shape::Text),
        (
            "Filter",
            Shape::Fields(&[(
                "S3Key",
                Shape::Fields(&[(
                    "Rules",
                    Shape::List(&Shape::Fields(&[("Name", Shape::Text), ("Value", Shape::Text)])),
                )]),
            )]),
        ),
    ])),
)]);

pub(super) const KINDS: [Kind; 29] = [
    Kind {
        name: "AWS::S3::Bucket",
        name_property: &["BucketName"],
        // What is allowed and how it is stored has no meaning here; what changes behaviour is not in the list.
        properties: &[
            ("BucketName", Shape::Text),
            ("BucketEncryption", Shape::Any),
            ("LifecycleConfiguration", Shape::Any),
            ("NotificationConfiguration", NOTIFICATIONS),
            ("OwnershipControls", Shape::Any),
            ("PublicAccessBlockConfiguration", Shape::Any),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::S3::BucketPolicy",
        name_property: &["Bucket"],
        properties: &[("Bucket", Shape::Text), ("PolicyDocument", Shape::Any)],
    },
    Kind {
        name: "AWS::IAM::Role",
        name_property: &["RoleName"],
        properties: &[
            ("RoleName", Shape::Text),
            ("AssumeRolePolicyDocument", Shape::Any),
            ("Description", Shape::Text),
            ("ManagedPolicyArns", TEXTS),
            ("MaxSessionDuration", Shape::Whole),
            ("Path", Shape::Text),
            ("PermissionsBoundary", Shape::Text),
            ("Policies", Shape::Any),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::IAM::Policy",
        name_property: &["PolicyName"],
        properties: &[
            ("PolicyName", Shape::Text),
            ("PolicyDocument", Shape::Any),
            ("Groups", TEXTS),
            ("Roles", TEXTS),
            ("Users", TEXTS),
        ],
    },
    Kind {
        name: "AWS::SecretsManager::Secret",
        name_property: &["Name"],
        properties: &[
            ("Name", Shape::Text),
            ("Description", Shape::Text),
            ("KmsKeyId", Shape::Text),
            ("SecretString", Shape::Text),
            (
                "GenerateSecretString",
                Shape::Fields(&[
                    ("ExcludeCharacters", Shape::Text),
                    ("ExcludePunctuation", Shape::Flag),
                    ("GenerateStringKey", Shape::Text),
                    ("PasswordLength", Shape::Whole),
                    ("SecretStringTemplate", Shape::Text),
                ]),
            ),
            ("Tags", Shape::Any),
        ],
    },
    // CloudFormation makes no parameters of type SecureString, so neither does this.
    Kind {
        name: "AWS::SSM::Parameter",
        name_property: &["Name"],
        properties: &[
            ("Name", Shape::Text),
            ("AllowedPattern", Shape::Text),
            ("DataType", Shape::Text),
            ("Description", Shape::Text),
            ("Tier", Shape::Text),
            ("Type", Shape::Text),
            ("Value", Shape::Text),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Glue::Database",
        name_property: &["DatabaseInput", "Name"],
        properties: &[
            ("CatalogId", Shape::Text),
            ("DatabaseName", Shape::Text),
            (
                "DatabaseInput",
                Shape::Fields(&[
                    ("Name", Shape::Text),
                    ("Description", Shape::Text),
                    ("LocationUri", Shape::Text),
                    ("Parameters", Shape::Texts),
                ]),
            ),
        ],
    },
    Kind {
        name: "AWS::Glue::Crawler",
        name_property: &["Name"],
        properties: &[
            ("Name", Shape::Text),
            ("Role", Shape::Text),
            ("DatabaseName", Shape::Text),
            ("Description", Shape::Text),
            ("TablePrefix", Shape::Text),
            ("Classifiers", TEXTS),
            ("Configuration", Shape::Text),
            ("RecrawlPolicy", Shape::Fields(&[("RecrawlBehavior", Shape::Text)])),
            (
                "SchemaChangePolicy",
                Shape::Fields(&[("UpdateBehavior", Shape::Text), ("DeleteBehavior", Shape::Text)]),
            ),
            (
                "Targets",
                Shape::Fields(&[(
                    "S3Targets",
                    Shape::List(&Shape::Fields(&[
                        ("Path", Shape::Text),
                        ("Exclusions", TEXTS),
                        ("SampleSize", Shape::Whole),
                    ])),
                )]),
            ),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Glue::Job",
        name_property: &["Name"],
        properties: &[
            ("Name", Shape::Text),
            ("Role", Shape::Text),
            ("Description", Shape::Text),
            (
                "Command",
                Shape::Fields(&[
                    ("Name", Shape::Text),
                    ("PythonVersion", Shape::Text),
                    ("Runtime", Shape::Text),
                    ("ScriptLocation", Shape::Text),
                ]),
            ),
            ("DefaultArguments", Shape::Texts),
            ("NonOverridableArguments", Shape::Texts),
            ("ExecutionClass", Shape::Text),
            ("ExecutionProperty", Shape::Fields(&[("MaxConcurrentRuns", Shape::Whole)])),
            ("GlueVersion", Shape::Text),
            ("JobMode", Shape::Text),
            ("JobRunQueuingEnabled", Shape::Flag),
            ("LogUri", Shape::Text),
            ("MaxCapacity", Shape::Fraction),
            ("MaxRetries", Shape::Whole),
            ("NotificationProperty", Shape::Fields(&[("NotifyDelayAfter", Shape::Whole)])),
            ("NumberOfWorkers", Shape::Whole),
            ("Timeout", Shape::Whole),
            ("WorkerType", Shape::Text),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Athena::WorkGroup",
        name_property: &["Name"],
        properties: &[
            ("Name", Shape::Text),
            ("Description", Shape::Text),
            ("State", Shape::Text),
            ("RecursiveDeleteOption", Shape::Flag),
            (
                "WorkGroupConfiguration",
                Shape::Fields(&[
                    ("BytesScannedCutoffPerQuery", Shape::Whole),
                    ("EnforceWorkGroupConfiguration", Shape::Flag),
                    ("EngineVersion", Shape::Fields(&[("SelectedEngineVersion", Shape::Text)])),
                    ("PublishCloudWatchMetricsEnabled", Shape::Flag),
                    ("RequesterPaysEnabled", Shape::Flag),
                    (
                        "ResultConfiguration",
                        Shape::Fields(&[
                            ("OutputLocation", Shape::Text),
                            ("ExpectedBucketOwner", Shape::Text),
                            (
                                "EncryptionConfiguration",
                                Shape::Fields(&[("EncryptionOption", Shape::Text), ("KmsKey", Shape::Text)]),
                            ),
                        ]),
                    ),
                ]),
            ),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::RedshiftServerless::Namespace",
        name_property: &["NamespaceName"],
        properties: &[
            ("NamespaceName", Shape::Text),
            ("DbName", Shape::Text),
            ("AdminUsername", Shape::Text),
            ("AdminUserPassword", Shape::Text),
            ("ManageAdminPassword", Shape::Flag),
            ("AdminPasswordSecretKmsKeyId", Shape::Text),
            ("DefaultIamRoleArn", Shape::Text),
            ("IamRoles", TEXTS),
            ("KmsKeyId", Shape::Text),
            ("LogExports", TEXTS),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::RedshiftServerless::Workgroup",
        name_property: &["WorkgroupName"],
        properties: &[
            ("WorkgroupName", Shape::Text),
            ("NamespaceName", Shape::Text),
            ("BaseCapacity", Shape::Whole),
            ("MaxCapacity", Shape::Whole),
            ("ConfigParameters", Shape::Any),
            ("EnhancedVpcRouting", Shape::Flag),
            ("Port", Shape::Whole),
            ("PubliclyAccessible", Shape::Flag),
            ("SecurityGroupIds", TEXTS),
            ("SubnetIds", TEXTS),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Redshift::Cluster",
        name_property: &["ClusterIdentifier"],
        properties: &[
            ("ClusterIdentifier", Shape::Text),
            ("DBName", Shape::Text),
            ("ClusterType", Shape::Text),
            ("NodeType", Shape::Text),
            ("NumberOfNodes", Shape::Whole),
            ("MasterUsername", Shape::Text),
            ("MasterUserPassword", Shape::Text),
            ("ManageMasterPassword", Shape::Flag),
            ("AutomatedSnapshotRetentionPeriod", Shape::Whole),
            ("ClusterParameterGroupName", Shape::Text),
            ("ClusterSubnetGroupName", Shape::Text),
            ("Encrypted", Shape::Flag),
            ("EnhancedVpcRouting", Shape::Flag),
            ("IamRoles", TEXTS),
            ("KmsKeyId", Shape::Text),
            ("Port", Shape::Whole),
            ("PreferredMaintenanceWindow", Shape::Text),
            ("PubliclyAccessible", Shape::Flag),
            ("VpcSecurityGroupIds", TEXTS),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Lambda::Function",
        name_property: &["FunctionName"],
        properties: &[
            ("FunctionName", Shape::Text),
            (
                "Code",
                Shape::Fields(&[("ZipFile", Shape::Text), ("S3Bucket", Shape::Text), ("S3Key", Shape::Text)]),
            ),
            ("Architectures", TEXTS),
            ("Description", Shape::Text),
            ("Environment", Shape::Fields(&[("Variables", Shape::Texts)])),
            ("EphemeralStorage", Shape::Any),
            ("Handler", Shape::Text),
            ("KmsKeyArn", Shape::Text),
            ("LoggingConfig", Shape::Any),
            ("MemorySize", Shape::Whole),
            ("PackageType", Shape::Text),
            ("Role", Shape::Text),
            ("Runtime", Shape::Text),
            ("Timeout", Shape::Whole),
            ("TracingConfig", Shape::Any),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Lambda::Permission",
        name_property: &[],
        properties: &[
            ("Action", Shape::Text),
            ("FunctionName", Shape::Text),
            ("Principal", Shape::Text),
            ("SourceAccount", Shape::Text),
            ("SourceArn", Shape::Text),
        ],
    },
    Kind {
        name: "AWS::Logs::LogGroup",
        name_property: &["LogGroupName"],
        properties: &[
            ("LogGroupName", Shape::Text),
            ("RetentionInDays", Shape::Whole),
            ("KmsKeyId", Shape::Text),
            ("LogGroupClass", Shape::Text),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::ECS::Cluster",
        name_property: &["ClusterName"],
        properties: &[
            ("ClusterName", Shape::Text),
            ("CapacityProviders", TEXTS),
            ("ClusterSettings", Shape::Any),
            ("Configuration", Shape::Any),
            ("DefaultCapacityProviderStrategy", Shape::Any),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::ECS::TaskDefinition",
        name_property: &["Family"],
        properties: &[
            ("Family", Shape::Text),
            ("ContainerDefinitions", Shape::List(&CONTAINER)),
            ("Cpu", Shape::Text),
            ("EphemeralStorage", Shape::Any),
            ("ExecutionRoleArn", Shape::Text),
            ("Memory", Shape::Text),
            ("NetworkMode", Shape::Text),
            ("RequiresCompatibilities", TEXTS),
            ("RuntimePlatform", Shape::Any),
            ("TaskRoleArn", Shape::Text),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Batch::ComputeEnvironment",
        name_property: &["ComputeEnvironmentName"],
        properties: &[
            ("ComputeEnvironmentName", Shape::Text),
            ("ComputeResources", Shape::Any),
            ("ServiceRole", Shape::Text),
            ("State", Shape::Text),
            ("Type", Shape::Text),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Batch::JobQueue",
        name_property: &["JobQueueName"],
        properties: &[
            ("JobQueueName", Shape::Text),
            (
                "ComputeEnvironmentOrder",
                Shape::List(&Shape::Fields(&[("ComputeEnvironment", Shape::Text), ("Order", Shape::Whole)])),
            ),
            ("Priority", Shape::Whole),
            ("State", Shape::Text),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::Batch::JobDefinition",
        name_property: &["JobDefinitionName"],
        properties: &[
            ("JobDefinitionName", Shape::Text),
            ("ContainerProperties", BATCH_CONTAINER),
            ("Parameters", Shape::Texts),
            ("PlatformCapabilities", TEXTS),
            ("PropagateTags", Shape::Flag),
            ("RetryStrategy", Shape::Fields(&[("Attempts", Shape::Whole)])),
            ("Timeout", Shape::Fields(&[("AttemptDurationSeconds", Shape::Whole)])),
            ("Type", Shape::Text),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::EMRServerless::Application",
        name_property: &["Name"],
        properties: &[
            ("Name", Shape::Text),
            ("Architecture", Shape::Text),
            ("AutoStartConfiguration", Shape::Any),
            ("AutoStopConfiguration", Shape::Any),
            ("MaximumCapacity", Shape::Any),
            ("MonitoringConfiguration", Shape::Any),
            ("NetworkConfiguration", Shape::Any),
            ("ReleaseLabel", Shape::Text),
            ("Type", Shape::Text),
            ("Tags", Shape::Any),
        ],
    },
    // Before the topics, which may deliver to them. A queue comes after its dead-letter queue if the template
    // has them in that order; a queue may also name one that is not there yet.
    Kind {
        name: "AWS::SQS::Queue",
        name_property: &["QueueName"],
        properties: &[
            ("QueueName", Shape::Text),
            ("ContentBasedDeduplication", Shape::Flag),
            ("DelaySeconds", Shape::Whole),
            ("FifoQueue", Shape::Flag),
            ("KmsDataKeyReusePeriodSeconds", Shape::Whole),
            ("KmsMasterKeyId", Shape::Text),
            ("MaximumMessageSize", Shape::Whole),
            ("MessageRetentionPeriod", Shape::Whole),
            ("ReceiveMessageWaitTimeSeconds", Shape::Whole),
            (
                "RedrivePolicy",
                Shape::Fields(&[("deadLetterTargetArn", Shape::Text), ("maxReceiveCount", Shape::Whole)]),
            ),
            ("SqsManagedSseEnabled", Shape::Flag),
            ("VisibilityTimeout", Shape::Whole),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::SQS::QueuePolicy",
        name_property: &[],
        properties: &[("Queues", TEXTS), ("PolicyDocument", Shape::Any)],
    },
    Kind {
        name: "AWS::Events::EventBus",
        name_property: &["Name"],
        properties: &[("Name", Shape::Text), ("Description", Shape::Text), ("Tags", Shape::Any)],
    },
    Kind {
        name: "AWS::SNS::Topic",
        name_property: &["TopicName"],
        properties: &[
            ("TopicName", Shape::Text),
            ("DisplayName", Shape::Text),
            ("FifoTopic", Shape::Flag),
            ("ContentBasedDeduplication", Shape::Flag),
            ("KmsMasterKeyId", Shape::Text),
            (
                "Subscription",
                Shape::List(&Shape::Fields(&[("Protocol", Shape::Text), ("Endpoint", Shape::Text)])),
            ),
            ("Tags", Shape::Any),
        ],
    },
    Kind {
        name: "AWS::SNS::TopicPolicy",
        name_property: &[],
        properties: &[("Topics", TEXTS), ("PolicyDocument", Shape::Any)],
    },
    Kind {
        name: "AWS::SNS::Subscription",
        name_property: &["Endpoint"],
        properties: &[("TopicArn", Shape::Text), ("Protocol", Shape::Text), ("Endpoint", Shape::Text)],
    },
    Kind {
        name: "AWS::StepFunctions::StateMachine",
        name_property: &["StateMachineName"],
        properties: &[
            ("StateMachineName", Shape::Text),
            ("StateMachineType", Shape::Text),
            ("Definition", Shape::Any),
            ("DefinitionString", Shape::Text),
            ("DefinitionSubstitutions", Shape::Texts),
            ("RoleArn", Shape::Text),
            ("LoggingConfiguration", Shape::Any),
            ("TracingConfiguration", Shape::Any),
            ("EncryptionConfiguration", Shape::Any),
            ("Tags", Shape::Any),
        ],
    },
];
